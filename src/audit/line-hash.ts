import { hash } from 'node:crypto';

const zero = Buffer.from([0]);

/** What the line after `line` (without its newline) carries as `prev`, by that next line's version. */
export function linkTo(line: Uint8Array, version: 1 | 2): string {
  return version === 1 ? hash('sha256', line, 'hex') : hash('sha256', Buffer.concat([zero, line]), 'hex');
}
