"""The commands of `rhm`, and what they compute where that is no function of the library."""
