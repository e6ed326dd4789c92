/** What the sign-in page and the server both know. No schema: a browser loads this. */

/**
 * Why somebody who came back from a provider is not signed in, with the text for the sign-in page. The page gets the
 * code in its address; what exactly was wrong is in the record alone.
 */
export const signInErrors = {
  'provider-unavailable': 'The sign-in provider did not answer as it should. Try again in a moment.',
  'provider-denied': 'The sign-in provider did not sign you in. Try again, or ask its administrator.',
  'foreign-start': 'Another site began this sign-in, not you. If you want to sign in, begin here.',
  'round-over': 'This sign-in took too long, was used already or began in another browser. Begin again.',
  'answer-refused': 'What the sign-in provider sent could not be trusted, so nobody was signed in.',
  'not-fresh': 'The sign-in provider did not ask again who you are. Sign out there, then begin again.',
  'mfa-required':
    'Your role asks for a second factor. Set one up at the sign-in provider, sign in there with it, then begin again.',
  'no-role': 'The sign-in provider gives you no role here. Ask an administrator for one.',
  'sign-up-closed':
    'You have no account here yet, and this provider may not make one. Ask for an invitation.',
  'name-taken':
    'Your name here belongs to another account. If it is yours, ask an administrator to link it to this provider.',
  'name-unusable': 'The sign-in provider gave no name that an account here can have. Ask an administrator.',
  'not-from-here':
    'Your role does not sign in from this network. Use the network that your administrator names.',
  'account-disabled': 'Your account is disabled. Ask an administrator.',
  unavailable: 'Signing in is not possible at the moment. Try again in a moment.',
} as const satisfies Record<string, string>;
export type SignInError = keyof typeof signInErrors;

/** A page of our own to go to after signing in: a path that no browser reads as another site's. */
export function isOwnPath(text: string): boolean {
  if (!/^\/(?![/\\])/.test(text) || text.length > 2048 || /[\\\p{Cc}\p{Cs}\u2028\u2029]/u.test(text))
    return false;
  const own = 'http://own.invalid';
  if (!URL.canParse(text, own)) return false;
  // Dots can leave a path that begins with two slashes, which is another site to whoever resolves it once more.
  const { origin, pathname } = new URL(text, own);
  return origin === own && !pathname.startsWith('//');
}
