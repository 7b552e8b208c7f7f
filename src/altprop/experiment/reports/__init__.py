"""One report of many folders of results; and the pages and pictures that every command draws."""
