/** Bytes `from` to before `to`. */
export type Span = { readonly from: number; readonly to: number };

/** A set of bytes, held as few spans: what follows each other becomes one. */
export class Spans {
  /** In order; no two of them touch. */
  #spans: Span[] = [];

  get all(): readonly Span[] {
    return this.#spans;
  }

  get bytes(): number {
    return bytesOf(this.#spans);
  }

  /** A span that is empty adds nothing. Cheap where it comes behind all others. */
  add({ from, to }: Span): void {
    if (to <= from) return;
    const last = this.#spans.at(-1);
    if (last === undefined || from > last.to) {
      this.#spans.push({ from, to });
      return;
    }
    const first = this.#spans.findIndex((span) => span.to >= from);
    let end = first;
    while (end < this.#spans.length && this.#spans[end]!.from <= to) end += 1;
    const joined = this.#spans.slice(first, end);
    const merged = {
      from: Math.min(from, joined[0]?.from ?? from),
      to: Math.max(to, joined.at(-1)?.to ?? to),
    };
    this.#spans.splice(first, end - first, merged);
  }

  /** What of `whole` is not in here. */
  gapsIn(whole: Span): Span[] {
    const gaps: Span[] = [];
    let place = whole.from;
    for (const { from, to } of this.#spans) {
      if (from >= whole.to) break;
      if (from > place) gaps.push({ from: place, to: from });
      place = Math.max(place, to);
    }
    if (place < whole.to) gaps.push({ from: place, to: whole.to });
    return gaps;
  }
}

/** Of spans that do not overlap. */
export function bytesOf(spans: readonly Span[]): number {
  return spans.reduce((sum, { from, to }) => sum + to - from, 0);
}
