"""A hospital's own file: who it is, where its images lie, what it lets out, and whom it connects to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fedistill.config.dataset_names import from_folder
from fedistill.config.federation import Federation, Site, require_name
from fedistill.config.find import read_toml
from fedistill.config.load import load_federation
from fedistill.core.ranges import AS_TABLE
from fedistill.core.settings import Frozen, checked
from fedistill.data.facts import LEAST_SIZE
from fedistill.data.scanner import Scanner
from fedistill.errors import PlanError, nearest
from fedistill.privacy.policy.rules import Policy, SitePolicy


class SiteFile(Frozen):
    """The file of one hospital's node. Its paths are relative to the file.

    Args:
        name: of the site, as the coordinator's federation calls it.
        server: HOST:PORT of the SuperLink.
        data: an .npz in MedMNIST's layout, or the name of a data set: its images.
        federation: in its place, for a rehearsal: its share of the data that the sites of this federation divide.
        root_certificate, key: what `fedistill keys` has made for this site; left out only with ``--insecure``.
        store: folder where it keeps what it has computed.
        ledger: file of what has left, and what its private Releases have spent.
        secret: file of 32 bytes that go into every seed; made at the first start, and nobody else's to see. Empty:
            none, which is for rehearsals alone, whose results are then those of a simulation.
        agreements: folder of the studies that it agreed to; each site has its own.
        data_root: folder of MedMNIST files.
        entropy: where the noise of private methods comes from: ``system``, which nobody can draw again; ``seeded``,
            for rehearsals, follows from the seed, which the server knows.
        held_out: share of its training images set aside before anything is made of them.
        size, images, data_seed: as a federation has them.
        threads, gpus: what its jobs may use.
        policy: what it lets out.
    """

    name: str
    server: str = "127.0.0.1:9092"
    data: str | None = None
    federation: str | None = None
    root_certificate: str | None = None
    key: str | None = None
    store: str = "store"
    ledger: str = "ledger.jsonl"
    secret: str = "site.secret"
    agreements: str = "agreements"
    data_root: str | None = None
    entropy: Literal["system", "seeded"] = "system"
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    size: Annotated[int, Field(ge=LEAST_SIZE, le=1024)] | None = None
    images: Annotated[int, Field(ge=2)] | None = None
    data_seed: int | None = None
    threads: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[float, Field(ge=0)] = 0.0
    scanner: Annotated[Scanner, AS_TABLE] | None = None
    policy: SitePolicy = Field(default_factory=SitePolicy)

    @field_validator("name")
    @classmethod
    def _fit_for_files(cls, value: str) -> str:
        return require_name(value, "a site")

    @field_validator("server")
    @classmethod
    def _an_address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536 or "/" in value:
            raise ValueError(f"{value!r} is no address: HOST:PORT without https://")
        return value

    @model_validator(mode="after")
    def _whose_data(self) -> "SiteFile":
        if (self.data is None) == (self.federation is None):
            raise ValueError("give `data`, this hospital's images, or for a rehearsal `federation`: one of the two")
        if (self.root_certificate is None) != (self.key is None):
            raise ValueError("root_certificate and key belong together: `fedistill keys` makes both")
        own = ("held_out", "size", "images", "data_seed", "scanner")
        said = [name for name in own if name in self.model_fields_set]
        if self.federation is not None and said:
            raise ValueError(f"{said[0]} is the federation's to say, where this site has a share of its data")
        if not self.secret and self.federation is None and not str(self.data).startswith("phantom:"):
            raise ValueError(
                "a site with images of its own needs a secret: whoever knows its seeds repeats its Releases"
            )
        if self.policy.proximity != "off" and self.federation is None and not self.held_out:
            raise ValueError(
                f'policy.proximity = "{self.policy.proximity}" compares with images set aside, and held_out is 0, so '
                "every Release would be refused. Write held_out = 0.2"
            )
        return self


@dataclass(frozen=True)
class OwnSite:
    """A site file, with what its names stand for.

    Args:
        file: as it was written; folder: where it lies.
        federation: of this site alone; of all in a rehearsal, with this site's own policy as everybody's.
    """

    file: SiteFile
    folder: Path
    federation: Federation

    def path(self, name: str) -> Path:
        """Return a path of the file, resolved from its folder."""
        return (self.folder / Path(name).expanduser()).resolve()

    @property
    def agreements(self) -> Path:
        """The folder of its agreements."""
        return self.path(self.file.agreements)

    def node_config(self) -> dict[str, str | int | bool]:
        """Return the node's configuration: all that its handler knows of the site; no request can add to it."""
        root = self.file.data_root
        return {
            "federation": self.federation.model_dump_json(),
            "partition-id": self.federation.sites.index(self.file.name),
            "site": self.file.name,
            "data-root": "" if root is None else str(self.path(root)),
            "store": str(self.path(self.file.store)),
            "ledger": str(self.path(self.file.ledger)),
            "secret": str(self.path(self.file.secret)) if self.file.secret else "",
            "agreements": str(self.agreements),
            "entropy": self.file.entropy,
        }


def load_site(name: str) -> OwnSite:
    """Load a hospital's file by its path.

    Raises:
        PlanError: no such file, or something in it cannot be.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        raise PlanError(f"{name} is a folder.", expected="a site's file; the README shows one")
    if not path.is_file():
        raise PlanError(f"There is no file {name!r}.", expected="a site's file; the README shows one")
    folder = path.resolve().parent
    file = checked(SiteFile, read_toml(path), str(path), error=PlanError)
    return OwnSite(file, folder, _alone(file, folder) if file.federation is None else _shared(file, folder))


def _alone(file: SiteFile, folder: Path) -> Federation:
    """Return a federation of this one site."""
    assert file.data is not None
    site = Site(threads=file.threads, gpus=file.gpus, scanner=file.scanner, dataset=from_folder(folder)(file.data))
    return Federation(
        name=file.name,
        size=file.size,
        images=file.images,
        data_seed=file.data_seed,
        sites=(file.name,),
        site={file.name: site},
        held_out=file.held_out,
        policy=_plain(file.policy),
    )


def _shared(file: SiteFile, folder: Path) -> Federation:
    """Return the federation of a rehearsal: policies come from the simulation, this site's from its own file."""
    assert file.federation is not None
    federation = load_federation(file.federation, beside=folder)
    if file.name not in federation.sites:
        raise PlanError(
            f"Federation {federation.name!r} has no site {file.name!r}.", mend=nearest(file.name, federation.sites)
        )
    resources: dict[str, Any] = {"threads": file.threads, "gpus": file.gpus}
    own = Site(**{**federation.of(file.name).model_dump(exclude={"policy"}), **resources})
    return federation.model_copy(update={"policy": _plain(file.policy), "site": {**federation.site, file.name: own}})


def _plain(rules: SitePolicy) -> Policy:
    """Return a site's rules, all written out, as the policy that a federation has."""
    return Policy(**rules.model_dump())
