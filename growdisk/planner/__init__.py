"""Decides: facts and a goal make a plan, or a refusal that says why. Nothing here writes."""
