"""The addresses of actions, and what a request for one needs.

GET shows the plan of a verb, which says exactly what will happen. POST carries the digest of that
plan, and acts only if the store still leads to the same plan.
"""
