import { systemClock } from '../src/base/clock.ts';
import type { AttachState } from '../src/client/attach/session.ts';
import { attachLimits } from '../src/contract/attach.ts';
import { barTexts, breakText } from './attach-texts.ts';
import { button, element } from './elements.ts';

type ConnectionId = AttachState['clients'][number]['connection'];

export type ControlActs = {
  take(takeover: boolean): void;
  release(): void;
  handOver(to: ConnectionId, name: string): void;
};

export type Controls = {
  readonly bar: HTMLElement;
  readonly people: HTMLElement;
  show(state: AttachState): void;
  /** Moves the keyboard to the first button. */
  focus(): void;
  dispose(): void;
};

/** Who is attached, in which role, who drives and for how long, and the buttons to change that. */
export function attachControls(acts: ControlActs): Controls {
  const said = element('p', { class: 'attach-state', role: 'status' });
  // Not read out each second; what matters of it is in the state.
  const time = element('span', { class: 'lease', role: 'timer', 'aria-live': 'off' });
  const buttons = element('div', { class: 'attach-buttons' });
  const list = element('ul', { class: 'list people' });
  const rules = element('small', {});
  let until: number | null = null;
  const tick = () => {
    time.textContent = until === null ? '' : `${secondsLeft(until)} s`;
  };
  const ticking = setInterval(tick, 500);
  return {
    bar: element('div', { class: 'attach-bar' }, said, time, buttons),
    people: element('section', {}, element('h2', {}, 'Attached'), list, rules),
    show(state) {
      until = state.input?.allowed === true ? state.input.until : null;
      const text = stateText(state);
      // An unchanged text is not written again, or it would be read out again.
      if (said.textContent !== text) said.textContent = text;
      said.parentElement?.classList.toggle('driving', until !== null);
      keepFocus(buttons, () => buttons.replaceChildren(...buttonsFor(state, acts)));
      keepFocus(list, () => list.replaceChildren(...peopleOf(state, acts)));
      rules.textContent = rulesText(state);
      tick();
    },
    focus: () => buttons.querySelector('button')?.focus(),
    dispose: () => clearInterval(ticking),
  };
}

/** The server's clock may differ from this one: never more than a whole lease. */
function secondsLeft(until: number): number {
  return Math.ceil(Math.min(attachLimits.leaseMs, Math.max(0, until - systemClock.now())) / 1000);
}

/** Whoever is on a button stays on the one of the same name, or on the first. */
function keepFocus(box: HTMLElement, change: () => void): void {
  const { activeElement } = document;
  const name = box.contains(activeElement) ? activeElement?.textContent : null;
  change();
  if (name === null) return;
  const buttons = [...box.querySelectorAll('button')];
  (buttons.find(({ textContent }) => textContent === name) ?? buttons[0])?.focus();
}

function driverOf({ clients, connection }: AttachState): string | null {
  return clients.find((client) => client.driving && client.connection !== connection)?.actor ?? null;
}

export function stateText(state: AttachState): string {
  const { phase, input, role } = state;
  if (phase === 'connecting') return 'Connecting…';
  if (phase === 'broken') return `${breakText(state.brokenBy)} Connecting again…`;
  if (phase === 'ended') return 'Not connected.';
  if (input?.allowed === true) return 'You drive. What you type goes to the program.';
  const driver = driverOf(state);
  const bar = role === 'driver' && input !== null ? input.bar : 'viewer';
  if (bar === 'no-lease')
    return driver === null ? barTexts['no-lease'] : `${driver} drives. Your keys go nowhere.`;
  if (bar === 'viewer' && driver !== null)
    return `${driver} drives. You are watching, and your keys go nowhere.`;
  return barTexts[bar];
}

/** What the session allows, in words. */
function rulesText({ mode, moderated }: AttachState): string {
  if (mode === null) return '';
  const drivers = mode === 'exclusive' ? 'One person drives at a time.' : 'Several people may drive at once.';
  return moderated
    ? `${drivers} They may type only while somebody else with control:write is here.`
    : drivers;
}

function buttonsFor(state: AttachState, { take, release }: ControlActs): readonly HTMLElement[] {
  const { phase, input, mode, clients, connection } = state;
  if (phase !== 'attached') return [];
  const own = clients.find((client) => client.connection === connection);
  if (input?.allowed === true || own?.driving === true) return [button('Release', release)];
  const isTaken = mode === 'exclusive' && driverOf(state) !== null;
  return [
    isTaken ? button('Take over', () => take(true), 'danger') : button('Take the wheel', () => take(false)),
  ];
}

function peopleOf(state: AttachState, { handOver }: ControlActs): readonly HTMLElement[] {
  const { clients, connection } = state;
  const own = clients.find((client) => client.connection === connection);
  if (clients.length === 0) return [element('li', {}, element('em', {}, 'nobody'))];
  return clients.map((client) => {
    const isOwn = client.connection === connection;
    const part = client.driving ? 'drives' : client.role === 'driver' ? 'may drive' : 'watches';
    const canTake = own?.driving === true && !isOwn && client.role === 'driver' && !client.driving;
    return element(
      'li',
      {},
      element('span', {}, client.actor, isOwn ? ' (you)' : null),
      element('em', {}, part),
      canTake ? button('Hand over', () => handOver(client.connection, client.actor)) : null,
    );
  });
}
