"""Preference tuning: a prompt, a chosen and a rejected answer are one more objective of the one loop."""
