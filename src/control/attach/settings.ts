import type { JsonObject } from '../../base/canonical-json.ts';
import type { AttachChoice } from '../../contract/attach-settings.ts';
import type { SessionId } from '../../model/ids.ts';
import { type AttachSettings, attachOff } from '../../model/terminal.ts';
import type { Caller } from '../control.ts';
import type { Act, Gate } from '../gate.ts';

/** What a choice comes to: what it leaves out is off, and so is everything where there is none. */
export function attachSettingsOf(choice: AttachChoice | undefined): AttachSettings {
  if (choice === undefined) return attachOff;
  const { enabled, mode = 'exclusive', moderated = false, recordInput = false } = choice;
  return { enabled, mode, moderated, recordInput };
}

/** What the log holds of it. */
export function attachData(attach: AttachSettings): JsonObject {
  return attach === attachOff ? {} : { attach: { ...attach } };
}

/** Refuses, with a record of it, whoever may not switch attaching for what it is about to make. */
export async function requireAttachControl(
  gate: Gate,
  caller: Caller,
  { resource, data }: Act,
  attach: AttachSettings,
): Promise<void> {
  if (attach === attachOff) return;
  await gate.read(caller, { action: 'attach.control', resource, ...(data === undefined ? {} : { data }) });
}

/** Why attaching is refused while it is off, and what to do about it. */
export function switchedOffText(session: SessionId): string {
  return `Attaching is off for this session. Whoever holds control:write switches it on: sealwright sessions attach-control ${session} on`;
}

/** Why what nobody can watch is refused where somebody has to. */
export const moderatedText =
  'In this session somebody else has to watch whoever types, and nobody can watch this. Start the command in a terminal.';

/** Why a command in a terminal is refused while nobody watches, and what to do about it. */
export const unobservedText =
  'In this session a command starts only while somebody else with control:write watches: let them attach to a terminal of this run first.';
