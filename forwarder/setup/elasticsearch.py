"""Installs what Elasticsearch needs, and tells what of it is missing or not as it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from forwarder import elastic
from forwarder.setup.artifacts import Artifact

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

HEADERS: Final = {
    "accept": f"{elastic.JSON}; compatible-with=8",
    "content-type": f"{elastic.JSON}; compatible-with=8",
}
LISTS: Final = {"component_template": "component_templates", "index_template": "index_templates"}
"""Kind → member of the reply that lists what was asked for; it is below the kind's own name there."""

STATE: Final = "state"
"""Said of a transform that is as it should be, but does not run: somebody stopped it, or setup was cut off before."""
STANDING: Final = frozenset({"stopped", "stopping", "failed"})


class Installer:
    """Installs and checks.

    Args:
        client: as `forwarder.elastic.connect` makes it.
        where: the server, as people are told.
        said: takes a line for each thing that was done.
    """

    def __init__(self, client: Elasticsearch, where: str, said: Callable[[str], object]) -> None:
        self._client = elastic.other_nodes(client)
        self._where = where
        self._said = said

    def install(self, wanted: Iterable[Artifact]) -> int:
        """Install what is missing or differs; return how much that was. A second time there is nothing to do.

        Raises:
            ForwarderError: the server cannot be reached, or does not allow it.
        """
        count = 0
        for artifact in wanted:
            found = self._get(artifact)
            wrong = [] if found is None else self._wrong(artifact, found)
            if found is not None and not wrong:
                continue
            if wrong == [STATE]:
                self._ask("POST", f"{artifact.path}/_stop?force=true&wait_for_completion=true")  # it may have failed
                self._ask("POST", f"{artifact.path}/_start")
            elif artifact.kind == "transform":
                self._install_transform(artifact, there=found is not None)
            else:
                self._ask("PUT", artifact.path, artifact.body)
            self._said(f"{'updated' if found else 'installed'} {artifact.kind.replace('_', ' ')} {artifact.name}")
            count += 1
        return count

    def check(self, wanted: Iterable[Artifact]) -> list[str]:
        """Return a line for each thing that is missing, or is not as we would install it.

        Raises:
            ForwarderError: the server cannot be reached, or does not allow it.
        """
        problems = []
        for artifact in wanted:
            label = f"{artifact.kind.replace('_', ' ')} {artifact.name}"
            found = self._get(artifact)
            if found is None:
                problems.append(f"{label} is missing")
            elif wrong := self._wrong(artifact, found):
                problems.append(f"{label} differs in {', '.join(wrong[:3])}")
        return problems

    def _wrong(self, artifact: Artifact, found: dict[str, Any]) -> list[str]:
        """Return where something installed is not as we want it; a transform must also run."""
        wrong = differences(artifact.body, found)
        if artifact.kind == "transform" and not wrong:
            stats = self._ask("GET", f"{artifact.path}/_stats").get("transforms", [])
            if any(entry.get("state") in STANDING for entry in stats):
                return [STATE]
        return wrong

    def _install_transform(self, artifact: Artifact, *, there: bool) -> None:
        """Install and start a transform; one that is there cannot be changed, only made anew. Its index stays."""
        if there:
            self._ask("POST", f"{artifact.path}/_stop?force=true&wait_for_completion=true")
            self._ask("DELETE", artifact.path)
        self._ask("PUT", f"{artifact.path}?defer_validation=true", artifact.body)
        self._ask("POST", f"{artifact.path}/_start")

    def _get(self, artifact: Artifact) -> dict[str, Any] | None:
        reply = self._ask("GET", artifact.path, missing={})
        if artifact.kind in LISTS:
            entries = reply.get(LISTS[artifact.kind], [])
            return entries[0][artifact.kind] if entries else None
        if artifact.kind == "transform":
            return next(iter(reply.get("transforms", [])), None)
        entry: dict[str, Any] | None = reply.get(artifact.name)
        return entry

    def _ask(self, method: str, path: str, body: Any = None, missing: Any = None) -> Any:
        """Send a request; a 404 gives `missing`, if that is not None."""
        from elastic_transport import TransportError  # noqa: PLC0415
        from elasticsearch import ApiError  # noqa: PLC0415
        from elasticsearch.exceptions import UnsupportedProductError  # noqa: PLC0415

        try:
            return self._client.perform_request(method, path, headers=HEADERS, body=body).body
        except ApiError as error:
            if error.meta.status == elastic.NOT_FOUND and missing is not None:
                return missing
            raise elastic.explain(error, f"{self._where}{path.partition('?')[0]}") from None
        except (TransportError, UnsupportedProductError) as error:
            raise elastic.explain(error, self._where) from None


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Return where something installed is not as we want it; what it has beyond ours does not count.

    The server writes settings as text, and adds defaults, times and authors.
    """
    if isinstance(ours, dict):
        if not isinstance(theirs, dict):
            return [path or "all"]
        return [
            line
            for key, value in ours.items()
            for line in differences(value, theirs.get(key), f"{path}.{key}".lstrip("."))
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [line for one, other in zip(ours, theirs, strict=True) for line in differences(one, other, path)]
    if isinstance(ours, list):
        return [path]
    return [] if _text(ours) == _text(theirs) else [path]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
