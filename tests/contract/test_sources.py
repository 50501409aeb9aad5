"""What must not stand anywhere in the sources: ends of the process, and code that a file brought along."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def sources(folder, *endings):
    """Text of every file by its path."""
    paths = [path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in endings]
    assert paths
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def calls(text):
    """Names of all functions a Python source calls, with their modules: "os.abort"."""
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}


def imports(text):
    """Names of all modules a Python source imports."""
    nodes = list(ast.walk(ast.parse(text)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in nodes if isinstance(node, ast.ImportFrom)}


def test_core_never_ends_the_process():
    comment_or_text = re.compile(r'//.*|"(?:\\.|[^"\\\n])*"')
    forbidden = re.compile(r"\b(?:abort|exit|_exit|quick_exit|terminate|assert)\s*\(")
    files = {**sources("layers_cpp", ".cpp", ".hpp"), **sources("pycaffe_like/bindings", ".cpp", ".hpp")}
    found = {path: forbidden.findall(comment_or_text.sub("", text)) for path, text in files.items()}
    assert {path: hits for path, hits in found.items() if hits} == {}


def test_package_never_ends_the_process():
    forbidden = {"os._exit", "os.abort", "sys.exit", "exit", "quit"}
    files = sources("pycaffe_like", ".py")
    found = {path: calls(text) & forbidden for path, text in files.items() if "/tools/" not in path}
    assert {path: hits for path, hits in found.items() if hits} == {}


def test_package_runs_no_code_from_files():
    modules = {"pickle", "marshal", "shelve", "dill", "joblib"}
    functions = {"eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "__import__"}
    for path, text in {**sources("pycaffe_like", ".py"), **sources("tools", ".py")}.items():
        assert not imports(text) & modules, path
        assert not calls(text) & functions, path
        assert not re.search(r"allow_pickle\s*=\s*True|shell\s*=\s*True", text), path
