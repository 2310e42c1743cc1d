"""The scripts that grow a disk from inside its running guest: plan, rendering, answers."""
