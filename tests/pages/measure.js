(() => {
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const parse = text => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return { rgb: [r, g, b], a }; };
  const light = rgb => 0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2]);
  const ground = element => {
    for (let one = element; one; one = one.parentElement) {
      const { rgb, a } = parse(getComputedStyle(one).backgroundColor);
      if (a === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const contrast = element => {
    const [low, high] = [light(parse(getComputedStyle(element).color).rgb), light(ground(element))].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const name = element => `${element.tagName.toLowerCase()}.${element.className}: ${element.textContent.trim().slice(0, 40)}`;
  const all = [...document.querySelectorAll("body *")].filter(one => !one.closest("script"));
  const width = document.documentElement.clientWidth;
  const texts = all.filter(one => [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()));
  const scrolls = [...document.querySelectorAll(".scroll, pre")];
  const can = one => ["auto", "scroll"].includes(getComputedStyle(one).overflowX);
  return {
    wide: all.filter(one => !one.parentElement.closest(".scroll, pre")).filter(one => {
      const box = one.getBoundingClientRect();
      return box.right > width + 1 || box.left < -1;
    }).map(name),
    page: document.documentElement.scrollWidth - width,
    cut: scrolls.filter(one => one.scrollWidth > one.clientWidth + 1 && !can(one)).map(name),
    scrolled: scrolls.filter(one => one.querySelector("table") && one.scrollWidth > one.clientWidth + 1).map(name),
    unreachable: [...document.querySelectorAll(".scroll")].filter(
      one => one.tabIndex !== 0 || getComputedStyle(one).backgroundImage.split("gradient").length !== 5 || one.getAttribute("role") !== "region" || !one.getAttribute("aria-label")).map(name),
    outside: [...document.querySelectorAll("table")].filter(one => !one.closest(".scroll")).map(name),
    clipped: [...document.querySelectorAll("th, td")].filter(one => one.scrollWidth > one.clientWidth + 1).map(name),
    faint: texts.map(one => [contrast(one), name(one)]).filter(([ratio]) => ratio < 4.5),
    texts: texts.length,
    ground: light(ground(document.querySelector("section"))),
    images: [...document.images].map(one => ({ alt: one.alt, drawn: one.complete && one.naturalWidth > 0 })),
    scopes: [...document.querySelectorAll("th")].filter(one => !["col", "row"].includes(one.scope)).map(name),
    captions: [...document.querySelectorAll("table")].filter(one => !one.caption || !one.caption.textContent.trim()).length,
    heads: [...document.querySelectorAll("tbody tr")].filter(one => one.cells[0].tagName !== "TH").map(name),
    tables: document.querySelectorAll("table").length,
  };
})()
