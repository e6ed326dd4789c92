import { Fault } from '../../contract/faults.ts';
import type { TicketView } from '../../contract/user-schemas.ts';
import type { Flags } from '../../flags/flags.ts';
import { secretForm, secretHash } from '../../identity/token-secret.ts';
import type { UserRecord } from '../../store/identity-store.ts';
import type { Caller } from '../control.ts';
import type { Act } from '../gate.ts';
import { controlLimits } from '../limits.ts';
import { timeText } from './account-views.ts';
import { completeSignIn } from './completion.ts';
import type { Asked, SignInParts, SignInResult } from './sign-in-parts.ts';
import { refusedSignIn } from './sign-in-refusals.ts';

export type TicketParts = SignInParts & { readonly flags: Pick<Flags, 'demand'> };

const tickets = secretForm('swt_');
const flag = 'sso-tickets';

type Ticket = { readonly user: string; readonly issuer: string };

/**
 * A ticket that signs this user in once, within two minutes. Whether the caller may make one is decided before. Throws
 * Fault `feature.off` where tickets are not open to the user.
 */
export async function makeTicket(
  parts: TicketParts,
  caller: Caller,
  act: Act,
  user: UserRecord,
): Promise<TicketView> {
  const { gate, store, clock } = parts;
  if (user.phase !== 'active') throw new Fault('state.conflict', { detail: `${user.name} is disabled.` });
  await demandTickets(parts, user);
  return await gate.act(caller, act, async () => {
    const text = tickets.make();
    const expiresAt = clock.now() + controlLimits.ticketMs;
    const data: Ticket = { user: user.name, issuer: caller.actor.id };
    await store.identity.oneTimes.put('ticket', secretHash(text), data, expiresAt);
    return { ticket: text, expiresAt: timeText(expiresAt) };
  });
}

/** One factor, in place of the password: a second one is asked for as after that. */
export async function withTicket(parts: TicketParts, asked: Asked, text: string): Promise<SignInResult> {
  const action = 'sign-in.ticket';
  const { store, clock } = parts;
  const refused = (user: string | null) => refusedSignIn(parts, asked, { action, reason: 'ticket', user });
  if (!tickets.fits(text)) throw refused(null);
  const taken = await store.identity.oneTimes.take('ticket', secretHash(text), clock.now());
  if (taken === null) throw refused(null);
  const { user: name } = taken as Ticket;
  const user = await store.identity.users.get(name);
  if (user === null || user.phase !== 'active') throw refused(name);
  await demandTickets(parts, user);
  const proved = { provider: null, providerSession: null, methods: ['ticket'], mfa: false };
  return await completeSignIn(parts, asked, user, proved);
}

/** Without them a user signs in as before, so a flag that cannot be read takes no protection away. */
async function demandTickets({ flags, store }: TicketParts, { name, role }: UserRecord): Promise<void> {
  const id = `user:${name}` as const;
  await flags.demand(flag, { id, role, teams: new Set(await store.identity.teams.of(id)) });
}
