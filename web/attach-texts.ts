import type { AttachEnd } from '../src/client/attach/session.ts';
import type { AttachCloseReason, InputBar } from '../src/contract/attach.ts';
import { isSignedOut, Problem } from './api.ts';

/** What the pages of terminals say to people, in one place. */

export const closeTexts: Readonly<Record<AttachCloseReason, string>> = {
  ended: 'The command has ended.',
  goingAway: 'The server is stopping.',
  protocol: 'This page and the server do not understand each other. Reload the page.',
  tooLarge: 'This page sent more at once than the server takes.',
  internal: 'Something went wrong at the server.',
  revoked: 'Your access has ended: your sign-in, your role or your rights no longer allow it.',
  switchedOff: 'Attaching was switched off for this session.',
  timeout: 'This browser did not answer in time.',
  unrecorded: 'What happens here can no longer be recorded, so nobody may watch or type until it can.',
  slow: 'This browser did not read fast enough. The program went on without waiting for it.',
};

export const barTexts: Readonly<Record<InputBar, string>> = {
  viewer: 'You are watching. Your keys go nowhere.',
  'no-lease': 'Nobody drives now.',
  'no-observer': 'Waiting for an observer: in this session somebody else with control:write has to watch.',
  unrecorded: 'What is typed cannot be recorded now, so nothing is passed on.',
};

/** What is said before somebody drives; it has to be confirmed each time. */
export const drivingWarning: readonly string[] = [
  'What you type goes to the program in the sandbox at once, as if you sat at its keyboard. It can change and delete files of the session, and use everything that the run may use: its network policy, its credentials, its budget.',
  'That you drive is put on record under your name, and everything that the terminal shows is recorded. Others who are attached see it as you do. Do not type passwords or other secrets.',
  'What the program shows is not to be trusted: it may ask for things that it should not have.',
];

export const takeOverWarning =
  'Somebody drives at the moment. If you take over, they cannot type any more from that moment on, also in the middle of a word.';

/** Why a connection that is being made again broke. */
export function breakText(end: AttachEnd | null): string {
  if (end?.by === 'server') return closeTexts[end.reason];
  if (end?.by === 'refusal') return refusalText(end.error);
  return 'The connection broke.';
}

/** Of these the server's own words say what the texts here cannot; of others they say the same. */
const hasMoreToSay: ReadonlySet<AttachCloseReason> = new Set(['protocol', 'internal']);

/** Why a connection is over. */
export function endText(end: AttachEnd): string {
  switch (end.by) {
    case 'command':
      if (end.signal !== null) return `The command was ended by ${end.signal}.`;
      return end.code === null ? closeTexts.ended : `The command has ended with status ${end.code}.`;
    case 'server':
      return hasMoreToSay.has(end.reason)
        ? `${closeTexts[end.reason]} ${end.detail}`.trim()
        : closeTexts[end.reason];
    case 'refusal':
      return refusalText(end.error);
    case 'network':
      return 'The connection broke, and could not be made again. Is the server there?';
    case 'client':
      return 'You left. The program goes on.';
  }
}

export function refusalText(error: Error): string {
  if (isSignedOut(error)) return 'You are not signed in any more.';
  if (error instanceof Problem && error.status === 403)
    return `${error.message} Watching needs run:read, driving control:write; both can be asked for with “sealwright access request”.`;
  return error.message;
}
