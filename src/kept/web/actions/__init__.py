"""What the page changes: one class for each verb.

GET shows a plan, which says exactly what will happen. POST carries the digest of that plan, and
acts only if the store still leads to the same plan.
"""
