/** A session is a durable workspace: `pending → active → terminating → closed`. */
export const sessionPhases = ['pending', 'active', 'terminating', 'closed'] as const;
export type SessionPhase = (typeof sessionPhases)[number];

const allowed: Record<SessionPhase, readonly SessionPhase[]> = {
  pending: ['active', 'terminating'],
  active: ['terminating'],
  terminating: ['closed'],
  closed: [],
};

/** Whether a session in `from` may go to `to`; nothing else may write a phase. */
export function mayAdvanceSession(from: SessionPhase, to: SessionPhase): boolean {
  return allowed[from].includes(to);
}
