/**
 * The best of `offers` for an Accept header (RFC 9110 §12.5.1), or null when none is acceptable. Absent accepts
 * anything; equal preference goes to the earlier offer.
 */
export function negotiate<T extends string>(accept: string | undefined, offers: readonly T[]): T | null {
  if (accept === undefined || accept.trim() === '') return offers[0] ?? null;
  const ranges = accept.split(',').map(parseRange);
  let best: { offer: T; quality: number } | null = null;
  for (const offer of offers) {
    const quality = qualityOf(offer, ranges);
    if (quality > 0 && (best === null || quality > best.quality)) best = { offer, quality };
  }
  return best?.offer ?? null;
}

type Range = { readonly type: string; readonly quality: number };

function parseRange(text: string): Range {
  const [type = '', ...parameters] = text.split(';').map((part) => part.trim().toLowerCase());
  const quality = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
  const number = quality === undefined ? 1 : Number(quality);
  return { type, quality: number >= 0 && number <= 1 ? number : 0 };
}

/** The most specific range that covers the offer decides. */
function qualityOf(offer: string, ranges: readonly Range[]): number {
  for (const pattern of [offer, `${offer.slice(0, offer.indexOf('/'))}/*`, '*/*']) {
    const range = ranges.find(({ type }) => type === pattern);
    if (range !== undefined) return range.quality;
  }
  return 0;
}
