"""One working part of each kind. `crl new plugin` copies these files as they are; edit the copy into your own part."""
