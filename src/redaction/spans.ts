/** A part of a text that is secret, and the id of what stands in its place. */
export type Span = { readonly start: number; readonly end: number; readonly id: string };

/** Of one value that was split, what lies between its parts at most. */
const gapCharactersMax = 4;

/** What stands in place of a secret: never its length, never a part of it. */
export function markerOf(id: string): string {
  return `[redacted:${id}]`;
}

/** In order and apart: what overlaps becomes one, called as the first; so do near parts of the same. */
export function joinSpans(spans: readonly Span[]): Span[] {
  const joined: Span[] = [];
  for (const span of spans.toSorted((a, b) => a.start - b.start || b.end - a.end)) {
    const last = joined.at(-1);
    const gap = last?.id === span.id ? gapCharactersMax : 0;
    if (last === undefined || span.start >= last.end + gap) joined.push(span);
    else if (span.end > last.end) joined[joined.length - 1] = { ...last, end: span.end };
  }
  return joined;
}

/** The text with each span (joined ones) replaced by its marker. */
export function replaceSpans(text: string, spans: readonly Span[]): string {
  let shown = '';
  let from = 0;
  for (const { start, end, id } of spans) {
    shown += text.slice(from, start) + markerOf(id);
    from = end;
  }
  return shown + text.slice(from);
}
