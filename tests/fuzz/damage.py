"""Ways to damage a file."""

from dataclasses import dataclass

from hypothesis import strategies as st

__all__ = ["Damage", "damages"]


@dataclass(frozen=True)
class Damage:
    """Cut the content, then overwrite and insert bytes at places given as fractions of its length."""

    cut: float = 1.0
    writes: tuple[tuple[float, bytes], ...] = ()
    inserts: tuple[tuple[float, bytes], ...] = ()
    bare: bytes | None = None  # instead of the content

    def __call__(self, content: bytes) -> bytes:
        if self.bare is not None:
            return self.bare
        data = bytearray(content[: int(self.cut * len(content))])
        for place, piece in self.writes:
            start = int(place * len(data))
            data[start : start + len(piece)] = piece
        for place, piece in self.inserts:
            start = int(place * len(data))
            data[start:start] = piece
        return bytes(data)


_pieces = st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=12)), max_size=3).map(tuple)
damages = st.one_of(
    st.builds(Damage, cut=st.floats(0, 1)),
    st.builds(Damage, cut=st.just(1.0), writes=_pieces, inserts=_pieces),
    st.builds(Damage, cut=st.floats(0, 1), writes=_pieces),
    st.builds(Damage, bare=st.binary(max_size=200)),
)
