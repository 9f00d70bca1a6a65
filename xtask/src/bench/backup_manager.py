"""What the old script did: VACUUM INTO, gzip as Python has it (level 9), a tar of the configuration, a manifest.
Here it makes all of that durable as well."""

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import sys
import tarfile
from pathlib import Path

CONFIGURATION = [".env", "data/station_info.json"]


def backup(project: Path, store: Path) -> None:
    plain = store / "sessions.db"
    database = sqlite3.connect(project / "data" / "sessions.db")
    database.execute("VACUUM INTO ?", [str(plain)])
    database.close()
    with open(plain, "rb") as f_in, gzip.open(f"{plain}.gz", "wb") as f_out:
        shutil.copyfileobj(f_in, f_out)
    plain.unlink()
    with tarfile.open(store / "config.tar.gz", "w:gz") as tar:
        for name in CONFIGURATION:
            tar.add(project / name, arcname=name)
    hashes = {path.name: sha256(path) for path in store.iterdir()}
    (store / "manifest.json").write_text(json.dumps(hashes, indent=2))
    sync(*store.iterdir(), store)


def restore(store: Path, out: Path) -> None:
    with gzip.open(store / "sessions.db.gz", "rb") as f_in, open(out / "sessions.db", "wb") as f_out:
        shutil.copyfileobj(f_in, f_out)
    sync(out / "sessions.db", out)


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sync(*paths: Path) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


command, source, target = sys.argv[1:]
{"backup": backup, "restore": restore}[command](Path(source), Path(target))
