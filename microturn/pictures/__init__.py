"""Pictures drawn by a program: figures that repeat a motion, and the times of real repetitions that they follow."""
