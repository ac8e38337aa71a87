"""The plain half of the data room does not import TensorFlow, not even indirectly."""

import subprocess
import sys

MODULES = ["workbench.data.lengths", "workbench.data", "workbench.convert"] + [
    f"workbench.data.{name}"
    for name in (
        "errors", "manifest", "file_kind", "whose", "encode", "given", "padding", "sources",
        "records", "convert", "sources.python_source", "sources.synthetic", "sources.ud_conllu",
    )
]  # fmt: skip


def test_no_tensorflow():
    code = f"import sys, importlib\nfor name in {MODULES}: importlib.import_module(name)\n"
    code += "print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
