"""What the scripts share: options, finding weights and pictures, the window, saving."""
