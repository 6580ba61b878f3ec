"""What the figures need and the library without its extras does not."""

from nwslib._optional import need

for package in ("matplotlib", "seaborn"):
    need(package, "book")
