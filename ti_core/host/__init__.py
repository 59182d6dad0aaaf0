"""The one place that imports ComfyUI: borrows its models, speaks its tokens, saves to its
folders.
"""
