import { characterSet, isIn } from './characters.ts';

const authorityEnds = characterSet('/?# \t\r\n"\'`<>\\');
const webSchemes = ['http', 'https', 'ws', 'wss', 'git+https', 'git+http'];
/** Shorter ones are users (`git`), not tokens. */
const tokenCharactersMin = 8;

/**
 * The secret of a URL's user info, whose authority begins at `from`: the password, or where there is none and the
 * scheme is of the web, a user as long as a token. Null where there is neither.
 */
export function userInfoAt(text: string, from: number): { start: number; end: number } | null {
  let at = -1;
  let colon = -1;
  let end = from;
  for (; end < text.length && !isIn(authorityEnds, text.charCodeAt(end)); end += 1) {
    const character = text[end];
    if (character === '@') at = end;
    else if (character === ':' && colon < 0) colon = end;
  }
  if (at < 0) return null;
  if (colon >= 0 && colon < at) return colon + 1 === at ? null : { start: colon + 1, end: at };
  if (at - from < tokenCharactersMin || !isOfWeb(text, from)) return null;
  return { start: from, end: at };
}

function isOfWeb(text: string, from: number): boolean {
  const before = text.slice(Math.max(0, from - 16), from - '://'.length).toLowerCase();
  return webSchemes.some((scheme) => before.endsWith(scheme));
}
