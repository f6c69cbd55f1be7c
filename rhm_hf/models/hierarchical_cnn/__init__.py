"""The convolutional network whose filters and strides match the tree of the Random Hierarchy Model."""
