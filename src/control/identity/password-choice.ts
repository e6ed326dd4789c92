import { Fault } from '../../contract/faults.ts';
import { type PasswordOwner, passwordProblem } from '../../identity/password-rules.ts';
import type { SignInParts } from './sign-in-parts.ts';

/** Refuses a password that nobody should have, with the field and the reason. Throws Fault `request.invalid`. */
export function refuseUnfit(
  { signInConfig }: Pick<SignInParts, 'signInConfig'>,
  password: string,
  owner: PasswordOwner,
): void {
  const { publicUrl, passwordWords } = signInConfig;
  const problem = passwordProblem(password, owner, { publicUrl, words: passwordWords });
  if (problem === null) return;
  throw new Fault('request.invalid', {
    detail: `In body /password: ${problem}`,
    extra: { in: 'body', errors: [{ path: '/password', message: problem }] },
  });
}
