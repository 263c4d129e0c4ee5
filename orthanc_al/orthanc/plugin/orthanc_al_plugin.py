# SPDX-License-Identifier: AGPL-3.0-or-later
#
# This program is free software: you can redistribute it and/or modify it under the terms of the GNU Affero
# General Public License as published by the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version. It is distributed in the hope that it will be useful, but WITHOUT ANY
# WARRANTY. See LICENSE beside this file, and <https://www.gnu.org/licenses/>.
"""orthanc_al inside Orthanc: its order and its buttons there, and a hint to it when something is new.

Orthanc runs this by its Python plugin (``"PythonScript": ".../orthanc_al_plugin.py"``), with the Python that
it was built with: the standard library alone is used, from 3.11 on. docs/orthanc.md says how it is set up.

What a reader clicks is kept in a file (the outbox) before she is answered, and goes to the service as soon
as that answers: neither a restart of Orthanc nor one of the service loses it. The service does the same with
it as with a click on its own page, and may refuse it. That something is new is only a hint: the service
follows Orthanc's changes by itself.
"""

import base64
import hashlib
import json
import re
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

VALUES: Final = {"confirm": "present", "reject": "absent", "undecided": "undetermined"}
STUDY_ROUTE: Final = r"/al/studies/([A-Za-z0-9.-]+)/(confirm|reject|undecided|rescore)"
_UID: Final = re.compile(r"[0-9.]{1,64}")
_TIMEOUT: Final = 5.0
_ANSWER_SECONDS: Final = 3.0  # how long a click waits for the service before it is told "queued"
_LONGEST_WAIT: Final = 60.0
_FRESH_SECONDS: Final = 3.0
_REFUSED_KEPT: Final = 50


class AwayError(Exception):
    """The service does not answer, or not now."""


class RefusedError(Exception):
    """The service does not take it; the text says why."""


@dataclass(frozen=True)
class Settings:
    """The section ``OrthancAl`` of Orthanc's configuration.

    Attributes
    ----------
    url
        Of orthanc_al.
    user, password, password_file
        As which program we sign in there; the file is read with each request, so that it may come later.
    outbox
        The file of clicks that are still to be delivered.
    readers
        Names by which reads are signed, by Orthanc's user names; an empty one is for a user that several
        persons share: the page then asks who reads.
    authenticated
        Whether Orthanc knows its users: then nobody else may be named as the reader, but by a shared user.
    """

    url: str
    user: str
    password: str
    outbox: Path
    readers: Mapping[str, str] = field(default_factory=dict)
    authenticated: bool = False
    password_file: str = ""

    @classmethod
    def of(cls, configuration: Mapping[str, Any]) -> "Settings":
        """Read them from Orthanc's whole configuration."""
        section = configuration.get("OrthancAl", {})
        folder = Path(configuration.get("StorageDirectory", "."))
        return cls(
            url=str(section.get("Url", "http://127.0.0.1:8080")).rstrip("/"),
            user=str(section.get("User", "orthanc")),
            password=str(section.get("Password", "")),
            outbox=Path(section.get("Outbox", folder / "orthanc-al-outbox.sqlite")),
            readers=dict(section.get("Readers", {})),
            # Without the key, Orthanc asks for a password where others may reach it (since 1.5.8).
            authenticated=bool(
                configuration.get("AuthenticationEnabled", configuration.get("RemoteAccessAllowed", False))
            ),
            password_file=str(section.get("PasswordFile", "")),
        )

    def secret(self) -> str:
        """Return the password; empty where there is none, or its file is not there yet."""
        if not self.password_file:
            return self.password
        try:
            return Path(self.password_file).read_text(encoding="utf-8").strip()
        except OSError:
            return ""


class Service:
    """orthanc_al's HTTP interface."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """GET, or POST ``body``; return the JSON answer.

        Raises
        ------
        AwayError
            It does not answer, or our password is not right: later it may.
        RefusedError
            It says no for good.
        """
        headers = {"X-Orthanc-AL": "orthanc", "Accept": "application/json"}
        password = self._settings.secret()
        if password:
            pair = f"{self._settings.user}:{password}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(f"{self._settings.url}{path}", data, headers)  # noqa: S310 - configured
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310 - the same
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                text = _detail(error.read())
            if error.code == 401:
                raise AwayError(f"{self._settings.url} does not take our password (OrthancAl)") from error
            if error.code in (408, 429) or error.code >= 500:
                raise AwayError(f"{self._settings.url} answers {error.code}: {text}") from error
            raise RefusedError(text) from error
        except (OSError, ValueError) as error:
            raise AwayError(f"{self._settings.url} does not answer ({error})") from error


class Outbox:
    """Clicks that are still to be delivered, in the order in which they were made, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._do(
            "CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, click TEXT NOT NULL)"
        )
        self._do(
            "CREATE TABLE IF NOT EXISTS refused"
            " (id INTEGER PRIMARY KEY, click TEXT NOT NULL, why TEXT NOT NULL)"
        )

    def put(self, click: Mapping[str, Any]) -> int:
        """Keep a click; return its number."""
        return int(self._do("INSERT INTO outbox (click) VALUES (?) RETURNING id", json.dumps(click))[0][0])

    def first(self) -> tuple[int, dict[str, Any]] | None:
        """Return the oldest click, None where none waits."""
        rows = self._do("SELECT id, click FROM outbox ORDER BY id LIMIT 1")
        return (int(rows[0][0]), json.loads(rows[0][1])) if rows else None

    def remove(self, number: int, why: str = "") -> None:
        """Take a click out; where it was refused, keep the reason."""
        if why:
            self._do(
                "INSERT OR REPLACE INTO refused SELECT id, click, ? FROM outbox WHERE id = ?", why, number
            )
            self._do("DELETE FROM refused WHERE id <= ?", number - _REFUSED_KEPT)
        self._do("DELETE FROM outbox WHERE id = ?", number)

    def fate(self, number: int) -> str | None:
        """Return why a click was refused; empty where it was delivered, None while it waits."""
        if self._do("SELECT 1 FROM outbox WHERE id = ?", number):
            return None
        rows = self._do("SELECT why FROM refused WHERE id = ?", number)
        return str(rows[0][0]) if rows else ""

    def waiting(self) -> int:
        """Return how many wait."""
        return int(self._do("SELECT count(*) FROM outbox")[0][0])

    def refused(self) -> list[dict[str, Any]]:
        """Return what was refused lately, the latest first."""
        rows = self._do("SELECT click, why FROM refused ORDER BY id DESC LIMIT 20")
        return [{**json.loads(click), "why": why} for click, why in rows]

    def _do(self, statement: str, *values: Any) -> list[Any]:
        with self._lock, closing(sqlite3.connect(self._path, timeout=10)) as connection, connection:
            connection.execute("PRAGMA synchronous=FULL")
            return connection.execute(statement, values).fetchall()


class Courier:
    """The thread that delivers clicks and hints, and goes on trying while the service is away."""

    def __init__(self, service: Service, outbox: Outbox, log: Callable[[str], None]) -> None:
        self._service = service
        self._outbox = outbox
        self._log = log
        self._wake = threading.Event()
        self._over = threading.Event()
        self._hint = True  # at the start, too: what came while neither was there is news
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="orthanc-al", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is not delivered stays in the outbox."""
        self._over.set()
        self._wake.set()
        self._thread.join(_TIMEOUT + 1)

    def hint(self) -> None:
        """Say that Orthanc has something new; returns at once."""
        self._hint = True
        self._wake.set()

    def deliver(self) -> None:
        """Try at once what waits."""
        self._wake.set()

    def _run(self) -> None:
        wait = 1.0
        while not self._over.is_set():
            try:
                self._deliver_all()
            except AwayError as error:
                if str(error) != self.trouble:
                    self._log(f"orthanc_al: {error}; {self._outbox.waiting()} click(s) wait")
                self.trouble = str(error)
                self._wake.wait(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
            except Exception as error:  # noqa: BLE001 - a named border: the thread must go on
                self.trouble = f"{type(error).__name__}: {error}"
                self._log(f"orthanc_al: {self.trouble}")
                self._over.wait(wait)
            else:
                self.trouble, wait = "", 1.0
                self._wake.wait(_LONGEST_WAIT)
            self._wake.clear()

    def _deliver_all(self) -> None:
        while (found := self._outbox.first()) is not None and not self._over.is_set():
            number, click = found
            try:
                self._send(click)
            except RefusedError as error:
                self._outbox.remove(number, str(error) or "refused")
            else:
                self._outbox.remove(number)
        if self._hint:
            self._hint = False
            try:
                self._service.ask("/api/v1/orthanc/changed", {})
            except AwayError:
                self._hint = True
                raise
            except RefusedError as error:
                self._log(f"orthanc_al does not take hints: {error}")

    def _send(self, click: Mapping[str, Any]) -> None:
        study = f"/api/v1/studies/{click['study']}"
        if click["action"] == "rescore":
            self._service.ask(f"{study}/rescore", {})
            return
        revision = click.get("revision")
        if revision is None:  # the page that was clicked on does not know it
            found = self._service.ask(study)
            if _images_since(found["instances"], click["at"]):
                raise RefusedError("Images came after the click: look at the study again, then sign it.")
            revision = found["study"]["revision"]
        read = {"value": VALUES[click["action"]], "revision": revision, "reader": click["reader"]}
        self._service.ask(f"{study}/reads", {**read, "finding": click.get("finding", "")})


class Plugin:
    """The routes under ``/al/`` and what Orthanc calls.

    Parameters
    ----------
    orthanc
        The module that Orthanc gives to its plugins.
    """

    def __init__(self, orthanc: Any) -> None:
        self._orthanc = orthanc
        self._settings = Settings.of(json.loads(orthanc.GetConfiguration()))
        self._service = Service(self._settings)
        self._outbox = Outbox(self._settings.outbox)
        self._courier = Courier(self._service, self._outbox, orthanc.LogWarning)
        self._order: list[dict[str, Any]] = []
        self._order_at = 0.0

    def install(self) -> None:
        """Register everything."""
        for route, answer in (
            ("/al/status", self.status),
            ("/al/order", self.order),
            (STUDY_ROUTE, self.act),
        ):
            self._orthanc.RegisterRestCallback(route, answer)
        self._orthanc.RegisterOnChangeCallback(self.on_change)
        self._orthanc.ExtendOrthancExplorer(EXPLORER)
        self._courier.start()

    def on_change(self, kind: Any, _level: Any, _resource: str) -> None:
        """Pass the hint on that something is new; end with Orthanc."""
        kinds = self._orthanc.ChangeType
        if kind in (kinds.NEW_INSTANCE, kinds.STABLE_STUDY):
            self._courier.hint()
        elif kind == kinds.ORTHANC_STOPPED:
            self._courier.stop()

    def status(self, output: Any, _uri: str, **request: Any) -> None:
        """Answer how it is: the service, what waits for it, what it refused, and who reads."""
        if request["method"] != "GET":
            output.SendMethodNotAllowed("GET")
            return
        try:
            me: Any = self._service.ask("/api/v1/me")
            trouble = ""
        except (AwayError, RefusedError) as error:
            me, trouble = {}, str(error)
        reader = self._reader(request, "")
        said = {
            "Service": self._settings.url,
            "Trouble": trouble,
            "Waiting": self._outbox.waiting(),
            "Refused": self._outbox.refused(),
            "Reader": reader,
            "ReaderIsKnown": bool(reader),
            "Findings": me.get("findings", []),
        }
        output.AnswerBuffer(json.dumps(said), "application/json")

    def order(self, output: Any, _uri: str, **request: Any) -> None:
        """Answer the worklist in reading order; the last one that is known while the service is away."""
        if request["method"] != "GET":
            output.SendMethodNotAllowed("GET")
            return
        stale = ""
        if time.monotonic() - self._order_at > _FRESH_SECONDS or not self._order:
            try:
                page = self._service.ask("/api/v1/worklist?limit=1000")
                self._order = [_line(one) for one in page["studies"]]
                self._order_at = time.monotonic()
            except (AwayError, RefusedError) as error:
                stale = str(error)
        output.AnswerBuffer(json.dumps({"Studies": self._order, "Stale": stale}), "application/json")

    def act(self, output: Any, _uri: str, **request: Any) -> None:
        """Keep a click, try to deliver it, and answer what came of it."""
        if request["method"] != "POST":
            output.SendMethodNotAllowed("POST")
            return
        try:
            number = self._outbox.put(self._click(request))
        except RefusedError as error:
            _say(output, 400, "refused", str(error))
            return
        self._courier.deliver()
        until = time.monotonic() + _ANSWER_SECONDS
        while (fate := self._outbox.fate(number)) is None and time.monotonic() < until:
            time.sleep(0.05)
        if fate is None:
            _say(output, 202, "queued", self._courier.trouble or "orthanc_al is busy")
        elif fate:
            _say(output, 409, "refused", fate)
        else:
            _say(output, 200, "done", "")

    def _click(self, request: Mapping[str, Any]) -> dict[str, Any]:
        study, action = request["groups"]
        headers = {name.lower(): value for name, value in request["headers"].items()}
        origin = headers.get("origin", "")
        if origin and origin.partition("://")[2] != headers.get("host", ""):
            raise RefusedError("This click came from a page of another site.")
        said = self._body(request)
        reader = self._reader(request, str(said.get("reader", "")))
        if action != "rescore" and not reader:
            raise RefusedError("Say who reads: the read is signed with it.")
        revision = str(said.get("revision", ""))
        return {
            "study": study if _UID.fullmatch(study) else self._uid_of(study),
            "action": action,
            "reader": reader,
            "finding": str(said.get("finding", "")),
            "revision": int(revision) if revision.isdecimal() else None,
            "at": time.time(),
        }

    @staticmethod
    def _body(request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            said = json.loads(request.get("body") or b"{}")
        except ValueError as error:
            raise RefusedError("The body is no JSON.") from error
        return said if isinstance(said, dict) else {}

    def _uid_of(self, orthanc_id: str) -> str:
        try:
            study = json.loads(self._orthanc.RestApiGet(f"/studies/{orthanc_id}"))
            return str(study["MainDicomTags"]["StudyInstanceUID"])
        except Exception as error:  # Orthanc raises an exception of its own
            raise RefusedError(f"Orthanc has no study {orthanc_id}.") from error

    def _reader(self, request: Mapping[str, Any], named: str) -> str:
        """Return who reads: Orthanc's user where it knows its users, else who the page says."""
        if not self._settings.authenticated:
            return named.strip()
        headers = {name.lower(): value for name, value in request["headers"].items()}
        scheme, _, encoded = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return ""
        try:
            user = base64.b64decode(encoded, validate=True).decode().partition(":")[0]
        except ValueError:
            return ""
        return self._settings.readers.get(user, user) or named.strip()


def orthanc_id_of(patient_id: str, study_instance_uid: str) -> str:
    """Return what Orthanc calls a study: a digest of the two, in five parts."""
    plain = f"{patient_id.strip()}|{study_instance_uid}".encode()
    digest = hashlib.sha1(plain, usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


def _line(study: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ID": orthanc_id_of(study["patient_id"], study["study_instance_uid"]),
        "StudyInstanceUID": study["study_instance_uid"],
        "Position": study["position"],
        "ReadBy": study["read_by"],
        "Tier": study["tier"],
        "Why": study["why"],
        "Asked": study["asked"],
        "Revision": study["revision"],
    }


def _images_since(instances: Iterable[Mapping[str, Any]], at: float) -> bool:
    """Whether the service received an image after a time (seconds since 1970)."""
    times = [one["received_at"] for one in instances if one["kind"] in ("image", "")]
    return any(datetime.fromisoformat(time).timestamp() > at for time in times)


def _say(output: Any, status: int, state: str, text: str) -> None:
    body = json.dumps({"State": state, "Text": text})
    if status == 200:
        output.AnswerBuffer(body, "application/json")
    else:
        output.SetHttpHeader("Content-Type", "application/json")
        try:
            output.SendHttpStatus(status, body, len(body.encode()))  # Debian 12's plugin (4.0)
        except TypeError:
            output.SendHttpStatus(status, body)  # newer ones


def _detail(body: bytes) -> str:
    """Return the text of an error that the service answers with."""
    try:
        said = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError):
        return "no reason given"
    return said if isinstance(said, str) else "the request is not as it takes them"


# The old Orthanc Explorer (jQuery Mobile 1.1): the read-by column in lists of studies, buttons on a study.
EXPLORER: Final = r"""
(function () {
  var order = {}, stale = '';
  function load() {
    $.ajax({ url: '../al/order', dataType: 'json', cache: false, success: function (said) {
      order = {}; stale = said.Stale;
      said.Studies.forEach(function (study) { order[study.ID] = study; });
      show();
    } });
  }
  function clock(text) {
    var at = new Date(text), today = new Date().toDateString() === at.toDateString();
    var time = ('0' + at.getHours()).slice(-2) + ':' + ('0' + at.getMinutes()).slice(-2);
    return today ? time : at.toISOString().slice(0, 10) + ' ' + time;
  }
  function words(study) {
    if (!study) return 'off the worklist';
    var asked = study.Asked ? ', a read is asked for' : '';
    return 'read by ' + clock(study.ReadBy) + ', ' + study.Tier + asked;
  }
  function uuidOf(item) {
    var link = $('a[href*="study?uuid="]', item).attr('href') || '';
    return link.split('uuid=')[1];
  }
  function column(list) {
    var items = $('li', list).filter(function () { return uuidOf(this); });
    items.each(function () {
      var place = $('.al-read-by', this), study = order[uuidOf(this)];
      if (!place.length) {
        place = $('<p class="al-read-by">').css({ fontWeight: 'bold', whiteSpace: 'normal' });
        $('h3', this).first().after(place);
      }
      if (place.text() !== words(study)) place.text(words(study)).attr('title', study ? study.Why : '');
    });
    var sorted = items.get().sort(function (a, b) {
      function at(one) { var study = order[uuidOf(one)]; return study ? study.Position : Infinity; }
      return at(a) === at(b) ? 0 : at(a) - at(b);
    });
    if (sorted.some(function (one, i) { return one !== items[i]; })) $(list).append(sorted);
  }
  function show() {
    ['#all-studies', '#lookup-result ul', '#list-studies'].forEach(function (list) { column(list); });
    var uuid = $.mobile.pageData && $.mobile.pageData.uuid;
    $('#al-place').text(words(order[uuid]) + (stale ? ' (old: orthanc_al does not answer)' : ''));
  }
  function answer(text) { $('#al-answer').text(text).show(); }
  function act(action) {
    $.ajax({ url: '../al/status', dataType: 'json', cache: false, success: function (said) {
      var uuid = $.mobile.pageData.uuid, study = order[uuid] || {}, body = { revision: study.Revision };
      if (action !== 'rescore' && !said.ReaderIsKnown) {
        var before = sessionStorage.getItem('al-reader') || '';
        body.reader = window.prompt('Who reads? The read is signed with this name.', before);
        if (!body.reader) return;
        sessionStorage.setItem('al-reader', body.reader);
      }
      if (action !== 'rescore' && said.Findings.length > 1) {
        body.finding = window.prompt('Which finding: ' + said.Findings.join(', ') + '?', said.Findings[0]);
        if (!body.finding) return;
      }
      $.ajax({
        url: '../al/studies/' + uuid + '/' + action, type: 'POST', data: JSON.stringify(body),
        contentType: 'application/json', dataType: 'text',
        complete: function (request) {
          var came = {};
          try { came = JSON.parse(request.responseText); } catch (error) { came = { State: 'failed' }; }
          answer(action + ': ' + came.State + (came.Text ? ' - ' + came.Text : ''));
          load();
        }
      });
    } });
  }
  $('#study').live('pagebeforecreate', function () {
    if ($('#al-actions').length) return;
    var list = $('<ul data-role="listview" data-inset="true" data-theme="d" data-divider-theme="c">');
    list.attr('id', 'al-actions');
    list.append('<li data-role="list-divider">orthanc_al: <span id="al-place"></span></li>');
    [['confirm', 'Confirm the finding', 'check'], ['reject', 'Reject the finding', 'delete'],
     ['undecided', 'Leave it undecided', 'info'], ['rescore', 'Score again', 'refresh']
    ].forEach(function (one) {
      var link = $('<a href="#">').attr('id', 'al-' + one[0]).text(one[1]);
      link.bind('click', function (event) { event.preventDefault(); act(one[0]); });
      list.append($('<li>').attr('data-icon', one[2]).append(link));
    });
    list.append('<li id="al-answer" role="status" style="display:none;white-space:normal"></li>');
    $('#study-info').after(list);
  });
  $('[data-role="page"]').live('pagebeforeshow', function () { $('#al-answer').hide(); load(); });
  setInterval(show, 500);
  setInterval(load, 5000);
})();
"""

try:
    import orthanc as _inside  # type: ignore[import-not-found,import-untyped,unused-ignore]
except ImportError:
    pass  # outside of Orthanc: its parts are being tested
else:
    Plugin(_inside).install()
