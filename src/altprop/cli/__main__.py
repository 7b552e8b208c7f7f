"""For launchers that start Python modules: ``torchrun -m altprop.cli train recipe.yaml``."""

from altprop.cli import main

if __name__ == "__main__":
    main()
