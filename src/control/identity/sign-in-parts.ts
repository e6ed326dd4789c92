import type { Clock } from '../../base/clock.ts';
import type { SignInAnswer } from '../../contract/sign-in-schemas.ts';
import type { ChangeFeed } from '../../identity/change-feed.ts';
import type { Lockout } from '../../identity/lockout.ts';
import type { Passkeys } from '../../identity/passkeys.ts';
import type { Passwords } from '../../identity/passwords.ts';
import type { Sealing } from '../../identity/sealing.ts';
import type { SignIns } from '../../identity/sign-ins.ts';
import type { Store } from '../../store/store.ts';
import type { Caller } from '../control.ts';
import type { Gate } from '../gate.ts';

export type SignInConfig = {
  /** The origin that people see. */
  readonly publicUrl: string;
  /** Whether names and passwords of this server are taken; where not, people sign in at a provider. */
  readonly localSignIn: boolean;
  /** Words of the company that no password may be made of, besides those of the product and of `publicUrl`. */
  readonly passwordWords: readonly string[];
  /** Roles that nobody has, or may be elevated to, without a second factor. */
  readonly mfaRoles: readonly string[];
  /** Whether somebody of this role may sign in from there. */
  readonly mayComeFrom: (role: string, address: string | null) => boolean;
};

/** What signing in, accounts and users work with. */
export type SignInParts = {
  readonly store: Store;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly signIns: SignIns;
  readonly passwords: Passwords;
  readonly passkeys: Passkeys;
  readonly sealing: Sealing;
  readonly lockout: Lockout;
  readonly changes: ChangeFeed;
  readonly signInConfig: SignInConfig;
};

/** Who asks before anybody is known: the request alone. */
export type Asked = Caller['request'];

/** The answer, and the browser's new cookie where it is one of success. */
export type SignInResult = { readonly answer: SignInAnswer; readonly cookie: string | null };
