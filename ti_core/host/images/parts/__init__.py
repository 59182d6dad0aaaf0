"""The parts of image files that make pixels, so that a decoder is given nothing else."""
