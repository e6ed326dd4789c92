import { UsageFailure } from './failure.ts';

const secondsPerUnit: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };
const binaryPowers: Record<string, number> = { '': 0, k: 1, m: 2, g: 3, t: 4, p: 5 };

/**
 * Whole seconds of `90`, `90s`, `10m`, `1h30m`, `30d`, `2w`; a bare number is seconds. Throws UsageFailure
 * naming `option`. Bounds are the server's to check.
 */
export function parseDuration(text: string, option: string): number {
  const wrong = () =>
    new UsageFailure(`${option} takes a duration such as 90s, 10m, 1h30m or 30d, not "${text}"`);
  if (/^\d+$/.test(text)) return whole(Number(text), wrong);
  if (!/^(?:\d+(?:\.\d+)?[smhdw])+$/i.test(text)) throw wrong();
  let seconds = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)([smhdw])/gi)) {
    seconds += Number(amount) * (secondsPerUnit[unit!.toLowerCase()] ?? Number.NaN);
  }
  return whole(seconds, wrong);
}

/** Whole bytes of `1048576`, `512m`, `1g`, `1.5GiB`, `20MB`: all powers of 1024, as docker reads them. */
export function parseBytes(text: string, option: string): number {
  const wrong = () => new UsageFailure(`${option} takes a size such as 512m, 1g or 1.5g, not "${text}"`);
  const match = /^(\d+(?:\.\d+)?)([kmgtp]?)(?:i?b)?$/i.exec(text);
  if (match === null) throw wrong();
  return whole(Number(match[1]) * 1024 ** (binaryPowers[match[2]!.toLowerCase()] ?? Number.NaN), wrong);
}

export function parseWhole(text: string, option: string): number {
  const wrong = () => new UsageFailure(`${option} takes a whole number, not "${text}"`);
  if (!/^-?\d{1,15}$/.test(text)) throw wrong();
  return Number(text);
}

export function parseNumber(text: string, option: string): number {
  if (!/^\d{1,9}(?:\.\d{1,9})?$/.test(text)) {
    throw new UsageFailure(`${option} takes a number such as 2 or 0.5, not "${text}"`);
  }
  return Number(text);
}

function whole(value: number, wrong: () => UsageFailure): number {
  const rounded = Math.round(value);
  if (!Number.isSafeInteger(rounded) || rounded < 0) throw wrong();
  return rounded;
}

/** `1.5 GiB`, for people. */
export function showBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** `3m12s`, for people. */
export function showSeconds(seconds: number): string {
  const total = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(total / 86_400), 'd'],
    [Math.floor(total / 3600) % 24, 'h'],
    [Math.floor(total / 60) % 60, 'm'],
    [total % 60, 's'],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return '0s';
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount}${unit}`)
    .join('');
}
