"""What is drawn: trees in the terminal and as pictures, figures of measurements, pages of HTML."""
