"""How a package lies in its folder or archive: why it does not open, and what lies there in vain.

An archive is looked at as its members are named, since unpacking leaves some of them out.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from app.doctor.config import NO_MEANING
from app.doctor.finding import Code, Finding, Place, Repair, Severity
from app.doctor.junk import junk_findings, junk_in
from app.doctor.listing import Listing, list_source
from app.doctor.repairs import moving
from app.doctor.subject import Subject
from model_loader.errors import ConfigError, LayoutError, LayoutFault, PackageError
from model_loader.inner_archives import is_archive_name, packs_a_model
from model_loader.layout import DEPLOY, MDAI
from model_loader.package_warning import PackageWarning

DOES_NOT_OPEN = Code("L001", Severity.ERROR, "package that does not open")
LOST_FOLDER = Code("L002", Severity.ERROR, "no folder .mdai")
TWO_ROOTS = Code("L003", Severity.ERROR, "several models at the same depth")
NO_DEPLOY_FILE = Code("L004", Severity.ERROR, ".mdai without mdai_deploy.py")
PACKED_TWICE = Code("L005", Severity.ERROR, "package in an archive in an archive")
JUNK = Code("L006", Severity.NOTE, "files that do not belong into a package")
REQUIREMENTS_NOT_READ = Code("L007", Severity.WARNING, "requirements.txt where it is not read")
OTHER_DEPLOY_FILE = Code("L008", Severity.NOTE, "another mdai_deploy.py")
OWN_ARCHIVE = Code("L009", Severity.NOTE, "packed package in the package")
LINK = Code("L010", Severity.WARNING, "link that may not arrive")
DEEP = Code("L011", Severity.NOTE, ".mdai far down")
NO_REQUIREMENTS = Code("L012", Severity.WARNING, "no requirements.txt")
SAID_WHEN_OPENED = Code("L013", Severity.WARNING, "doubt about the package as a whole")

CODES = (
    DOES_NOT_OPEN,
    LOST_FOLDER,
    TWO_ROOTS,
    NO_DEPLOY_FILE,
    PACKED_TWICE,
    JUNK,
    REQUIREMENTS_NOT_READ,
    OTHER_DEPLOY_FILE,
    OWN_ARCHIVE,
    LINK,
    DEEP,
    NO_REQUIREMENTS,
    SAID_WHEN_OPENED,
)

_FAULTS: dict[LayoutFault, Code] = {
    "": DOES_NOT_OPEN,
    "lost folder": LOST_FOLDER,
    "several roots": TWO_ROOTS,
    "no deploy file": NO_DEPLOY_FILE,
    "packed twice": PACKED_TWICE,
}
_SENTENCE_END = re.compile(r"(?<=\.) (?=[A-Z`])")
_NOTHING_KEPT = " Nothing was kept."
_CHECK_AGAIN = "Correct this, and check again."
_DEEP = 4
_NO_REQUIREMENTS_TEXT = "# Nothing beyond what is preinstalled: numpy, pydicom 2 with its decoders, protobuf.\n"


def refusal(error: PackageError) -> Finding:
    """What the doctor says where `open_package` refuses: the error's last sentences are what to do."""
    text = error.text.removesuffix(_NOTHING_KEPT)
    if isinstance(error, ConfigError):
        return _config_refusal(error)
    code = _FAULTS[error.fault] if isinstance(error, LayoutError) else DOES_NOT_OPEN
    *reasons, fix = _SENTENCE_END.split(text)
    return Finding(code, Place(), " ".join(reasons) or fix, fix if reasons else _CHECK_AGAIN)


def _config_refusal(error: ConfigError) -> Finding:
    place = Place(error.file, error.line)
    text = error.text.removeprefix(f"{error.file}, line {error.line}: ")
    if error.file and f"{error.file}, line " in text:
        return Finding(NO_MEANING, place, text, "Correct each of these lines.")
    reason, *fixes = _SENTENCE_END.split(text)
    return Finding(NO_MEANING, place, reason, " ".join(fixes) or _CHECK_AGAIN)


def examine(subject: Subject) -> Iterator[Finding]:
    """What lies in the package in vain, or not where it should."""
    listing = list_source(subject)
    junk = junk_in(listing)
    yield from junk_findings(JUNK, subject, listing, junk)
    yield from _requirements(subject)
    listing = replace(listing, entries=tuple(entry for entry in listing.entries if entry not in junk))
    yield from _other_deploy_files(listing)
    yield from _own_archives(listing)
    yield from _links(subject, listing)
    if len(listing.root_parts) > _DEEP:
        depth = len(listing.root_parts)
        reason = f"The model root, {'/'.join(listing.root_parts)}, lies {depth} folders down."
        yield Finding(DEEP, Place(), reason, "Pack from inside the model root, so that .mdai lies at the top.")
    for warning in subject.package.warnings:
        if not isinstance(warning, PackageWarning):
            *reasons, fix = _SENTENCE_END.split(warning)
            yield Finding(
                SAID_WHEN_OPENED, Place(), " ".join(reasons) or fix, fix if reasons else "Check whether it is meant."
            )


def _requirements(subject: Subject) -> Iterator[Finding]:
    root, target = subject.package.root, subject.package.mdai / "requirements.txt"
    warnings = [warning for warning in subject.package.warnings if isinstance(warning, PackageWarning)]
    misplaced = [warning for warning in warnings if warning.kind == "requirements"]
    for warning in misplaced:
        repair = None
        if subject.is_changeable and len(misplaced) == 1:
            repair = Repair(f"moved {warning.file} to {MDAI}/{target.name}", moving(root / warning.file, target))
        reason = f"{warning.file} is not read: requirements are read from {MDAI}/{target.name} only."
        fix = f"Move it: `mv {warning.file} {MDAI}/{target.name}`."
        yield Finding(REQUIREMENTS_NOT_READ, Place(warning.file), reason, fix, repair)
    if misplaced or target.exists():
        return
    shown = subject.place(target).file

    def write() -> None:
        with target.open("x") as file:
            file.write(_NO_REQUIREMENTS_TEXT)

    reason = (
        f"There is no {shown}. Here nothing beyond what is preinstalled is; MD.ai's image builder fails without one."
    )
    fix = f"Write {shown}, a line for each distribution that the model imports; an empty file will do for none."
    repair = Repair(f"wrote {shown}, which asks for nothing", write) if subject.is_changeable else None
    yield Finding(NO_REQUIREMENTS, Place(shown), reason, fix, repair)


def _other_deploy_files(listing: Listing) -> Iterator[Finding]:
    for entry in listing.entries:
        if entry.name != DEPLOY or entry.parts == (*listing.root_parts, MDAI, DEPLOY):
            continue
        if entry.parts[-2:-1] == (MDAI,):
            folder = "/".join(entry.parts[:-2]) or "."
            reason = f"This {DEPLOY} belongs to another model, which is not served."
            fix = f"Leave it out, or serve it with `--model-root {folder}`."
        else:
            reason = f"Only {MDAI}/{DEPLOY} is read. Whoever corrects this one sees no change."
            fix = "Delete it, or give it another name."
        yield Finding(OTHER_DEPLOY_FILE, listing.place(entry), reason, fix)


def _own_archives(listing: Listing) -> Iterator[Finding]:
    for entry in listing.entries:
        if is_archive_name(entry.name) and packs_a_model(listing.top.joinpath(*entry.parts)):
            reason = f"{entry.name} holds a package itself and is not read: every copy of this one carries it along."
            fix = f"Move it out of the folder, and pack to a place outside: `zip -r ../{entry.name} .`."
            yield Finding(OWN_ARCHIVE, listing.place(entry), reason, fix)


def _links(subject: Subject, listing: Listing) -> Iterator[Finding]:
    for entry in listing.entries:
        if entry.link is None or entry.name.startswith(".#"):  # Emacs locks a file by such a link
            continue
        if subject.is_archive:
            reason = (
                f"This is a link to {entry.link} and not the file. Here it becomes the file; many programs that unpack "
                "archives, Python's zipfile among them, write a small text file in its place."
            )
            fix = "Pack again with `zip -r` (without `-y`) or `tar -czhf`, which store what links point to."
        else:
            reason = f"This link points to {entry.link}, where nothing is."
            fix = "Put the file itself there, or delete the link."
        yield Finding(LINK, listing.place(entry), reason, fix)
