"""What every measurement needs: a stack of its own, players, a load generator, and the machine's name."""
