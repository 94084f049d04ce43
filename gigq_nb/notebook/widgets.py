"""The ipywidgets of one live view: a box with a part for each section, so that a change redraws only its part."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ..errors import GigQError
from .html import MUTED, esc
from .snapshots import RichOutput

VIEW = "application/vnd.jupyter.widget-view+json"
CONFIRM_S = 5.0
LARGE_BYTES, LARGE_EVERY_S = 100_000, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What a button does. A big one asks again: only a second click within five seconds does it."""

    name: str
    label: str
    doing: str
    run: Callable[[], Any]
    enabled: bool = True
    ask_again: bool = False


def stylesheet(name: str) -> str:
    """One of the files in ``static/``."""
    return resources.files(__package__).joinpath("static", name).read_text("utf-8")


@functools.cache
def _shared() -> Any:
    """Models that all views share, so that a view costs few comms: layouts, styles, and the stylesheet itself."""
    import ipywidgets as w

    layout = w.Layout(width="auto", overflow="hidden")
    style = w.HTML().style
    button = w.Button().style
    css = w.HTML(f"<style>{stylesheet('view.css')}</style>", layout=layout, style=style)
    css.add_class("gigq-css")
    return layout, style, button, css


class Live:
    """The widgets of one view. Made in the cell, then changed by the monitor's thread; clicks come from either."""

    def __init__(self, clicked: Callable[[], None]) -> None:
        import ipywidgets as w

        self._w = w
        self._lock = threading.RLock()
        self._clicked = clicked
        self._layout, self._style, self._button_style, css = _shared()
        self._parts: dict[str, Any] = {}
        self._buttons: list[Any] = []
        self._actions: tuple[Action, ...] = ()
        self._armed: tuple[str, float] = ("", 0.0)
        self._note_: Any = None
        self._row: Any = None
        self._output: Any = None
        self._outputs: tuple[RichOutput, ...] = ()
        self._outputs_s = 0.0
        self._said, self._busy = "", ""
        self.closed = False
        self.box = w.VBox([css], layout=self._layout)
        self.box.add_class("gigq-live")
        self._css = css
        self._order: list[str] = []

    def bundle(self) -> dict[str, Any]:
        """What to display: the view alone. Where no widget can be drawn it is nothing; the snapshot stands beside it."""
        full = self.box._repr_mimebundle_()
        # Without the empty HTML, nbconvert warns that it has nothing to show.
        return {VIEW: (full[0] if isinstance(full, tuple) else full)[VIEW], "text/html": ""}

    def update(
        self, sections: dict[str, str], actions: tuple[Action, ...], outputs: tuple[RichOutput, ...] = (), *, final: bool = False
    ) -> int:
        """Show these; what is as before is not sent. Returns how many parts changed."""
        with self._lock:
            if self.closed:
                return 0
            changed = 0
            for name, text in sections.items():
                part = self._parts.get(name)
                if part is None and text:
                    self._parts[name] = self._w.HTML(text, layout=self._layout, style=self._style)
                    changed += 1
                elif part is not None and part.value != text:
                    part.value = text
                    changed += 1
            if [one.name for one in actions] != [one.name for one in self._actions] or any(
                (a.label, a.enabled) != (b.label, b.enabled) for a, b in zip(actions, self._actions, strict=True)
            ):
                self._set_actions(actions)
                changed += 1
            else:
                self._actions = actions
                self._disarm()
            if outputs != self._outputs and (final or self._room_for(outputs)):
                self._set_outputs(outputs)
                changed += 1
            self._arrange(list(sections), sections)
            return changed

    def _arrange(self, names: list[str], sections: dict[str, str]) -> None:
        children = [self._css, *(self._parts[one] for one in names if one in self._parts and sections[one])]
        if self._output is not None:
            children.append(self._output)
        if self._row is not None and self._actions:
            children.append(self._row)
        if list(self.box.children) != children:
            self.box.children = children

    def _room_for(self, outputs: tuple[RichOutput, ...]) -> bool:
        """Large displays are sent anew at most every two seconds; the next drawing comes back to them."""
        size = sum(len(text) for one in outputs for text in one.data.values() if isinstance(text, str))
        now_s = time.monotonic()
        if size > LARGE_BYTES and now_s < self._outputs_s + LARGE_EVERY_S:
            return False
        self._outputs_s = now_s
        return True

    def _set_outputs(self, outputs: tuple[RichOutput, ...]) -> None:
        """The notebook's own renderers draw what the user's own cell displayed."""
        self._outputs = outputs
        shown = [{"output_type": "display_data", "data": dict(one.data), "metadata": dict(one.metadata)} for one in outputs]
        if self._output is None:
            self._output = self._w.Output()
        self._output.outputs = shown

    # ------------------------------------------------------------------------------------------------------ buttons

    def _set_actions(self, actions: tuple[Action, ...]) -> None:
        self._actions, self._armed = actions, ("", 0.0)
        while len(self._buttons) < len(actions):
            button = self._w.Button(layout=self._layout, style=self._button_style)
            button.on_click(functools.partial(self._click, len(self._buttons)))
            self._buttons.append(button)
        if actions and self._row is None:
            self._note_ = self._w.HTML("", layout=self._layout, style=self._style)
            self._row = self._w.HBox([], layout=self._layout)
            self._row.add_class("gigq-buttons")
        for button, action in zip(self._buttons, actions, strict=False):
            with button.hold_sync():
                button.description, button.disabled, button.tooltip = action.label, not action.enabled, action.label
        if self._row is not None:
            self._row.children = [*self._buttons[: len(actions)], self._note_]

    def _disarm(self) -> None:
        """A question nobody answered goes away."""
        name, until_s = self._armed
        if name and time.monotonic() > until_s:
            self._armed = ("", 0.0)
            for button, action in zip(self._buttons, self._actions, strict=False):
                if action.name == name:
                    button.description = action.label

    def _click(self, place: int, _button: Any) -> None:
        with self._lock:
            if place >= len(self._actions) or self.closed:
                return
            action, button = self._actions[place], self._buttons[place]
            if action.ask_again and not (self._armed[0] == action.name and time.monotonic() <= self._armed[1]):
                self._armed = (action.name, time.monotonic() + CONFIRM_S)
                button.description = f"{action.label}: sure?"
                return
            button.description, button.disabled = action.doing, True
            self._actions = ()  # the next update sets the buttons anew
        try:
            action.run()
            self.note("")
        except GigQError as error:
            self.note(str(error))
        self._clicked()

    def note(self, text: str) -> None:
        """A few words beside the buttons: what went wrong."""
        self._said = text
        self._write_note()

    def busy(self, text: str) -> None:
        """Why a click has to wait; empty when it does not."""
        if text != self._busy:
            self._busy = text
            self._write_note()

    def _write_note(self) -> None:
        text = self._busy or self._said
        with self._lock:
            if self._note_ is not None and not self.closed:
                value = f'<span style="{MUTED};font-size:12px">{esc(text, 300)}</span>' if text else ""
                if self._note_.value != value:
                    self._note_.value = value

    def close(self) -> None:
        """Close every comm of this view; where it was drawn, its snapshot appears."""
        with self._lock:
            self.closed = True
            for one in (*self._parts.values(), *self._buttons, self._note_, self._row, self._output, self.box):
                if one is not None:
                    one.close()


def available() -> bool:
    """Whether live views are possible here."""
    try:
        import ipywidgets
    except ImportError:
        return False
    return int(ipywidgets.__version__.partition(".")[0]) >= 8
