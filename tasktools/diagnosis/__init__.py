"""Why a cluster is as it is: facts, rules that judge them, and what they find."""
