"""All that a module of this collection does: its options as growdisk declares them, its task as growdisk does it.

Both `growdisk run` and these modules call the same function, so that they cannot differ. It runs in the interpreter of
the module, which must be one that has growdisk: ansible_python_interpreter says which.
"""

from __future__ import annotations

import json
import sys
import traceback

from ansible.module_utils.basic import AnsibleModule

try:
    from growdisk.playbook.perform import perform
    from growdisk.playbook.specs import SPECS
except (ImportError, SyntaxError) as error:  # not there, or of a Python that is too old for it
    _MISSING = f"{type(error).__name__}: {error}"
else:
    _MISSING = ""
