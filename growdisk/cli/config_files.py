"""Where a site's defaults may lie: asked for each command, so that it loads nothing more."""

from __future__ import annotations

import os


def config_files() -> tuple[str, ...]:
    """The files that are looked for, the stronger one last."""
    if named := os.environ.get("GROWDISK_CONFIG"):
        return (named,)
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return "/etc/growdisk.toml", os.path.expanduser(f"{home}/growdisk/config.toml")  # noqa: PTH111
