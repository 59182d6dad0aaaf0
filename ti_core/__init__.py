"""The engine: textual inversion on a frozen diffusion model. Plain torch; only `ti_core.host` knows
ComfyUI.
"""
