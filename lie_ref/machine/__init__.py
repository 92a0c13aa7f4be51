"""What the program needs from the machine: files, threads, processes and progress."""
