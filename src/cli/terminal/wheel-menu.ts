import type { AttachState } from '../../client/attach/session.ts';
import type { AttachedClient } from '../../contract/attach.ts';
import type { ConnectionId } from '../../model/ids.ts';
import { escapeLine } from '../escape.ts';

export type WheelChoice =
  | { readonly act: 'drive'; readonly takeover: boolean }
  | { readonly act: 'release' }
  | { readonly act: 'hand-over'; readonly to: ConnectionId }
  /** The keys that opened it are for the program. */
  | { readonly act: 'type' }
  /** It asks on, with another line. */
  | { readonly act: 'ask'; readonly text: string }
  | { readonly act: 'close' };

const nameCharactersMax = 40;
/** As many as there are digits for. */
const pageMax = 9;
/** Before each line of a note. */
const noteCharacters = 'sealwright: '.length;

/** Asks by one line of the screen who is to drive; what is typed meanwhile is for it, and not for the program. */
export class WheelMenu {
  readonly #state: () => AttachState;
  readonly #columns: () => number;
  /** Who the digits stand for, as they were shown: whoever comes or goes meanwhile changes nothing of it. */
  #page: readonly AttachedClient[] = [];
  #from = 0;

  constructor(state: () => AttachState, columns: () => number) {
    this.#state = state;
    this.#columns = columns;
  }

  /** What there is to choose from now. */
  get text(): string {
    const state = this.#state();
    const others = '? who is here, ctrl-t types the keys';
    if (isDriving(state)) return `r release, ${state.mode === 'exclusive' ? 'h hand over, ' : ''}${others}`;
    const holder = state.mode === 'exclusive' ? driverOf(state) : null;
    if (holder === null) return `w take the wheel, ${others}`;
    return `t take over from ${nameOf(holder, state.clients)}, ${others}`;
  }

  choose(key: number): WheelChoice {
    const state = this.#state();
    const driving = isDriving(state);
    const character = String.fromCharCode(key);
    if (key === 0x14) return { act: 'type' };
    if (character === '?') return { act: 'ask', text: whoText(state) };
    if (!driving && character === 'w') return { act: 'drive', takeover: false };
    if (!driving && character === 't') return { act: 'drive', takeover: true };
    if (driving && character === 'r') return { act: 'release' };
    if (driving && character === 'h' && state.mode === 'exclusive') return this.#turnPage(state);
    const chosen = /^[1-9]$/.test(character) ? this.#page[Number(character) - 1] : undefined;
    return chosen === undefined ? { act: 'close' } : { act: 'hand-over', to: chosen.connection };
  }

  /** As many names as the line has room for; the next ones when it is asked again, and then the first ones. */
  #turnPage(state: AttachState): WheelChoice {
    const all = state.clients.filter(
      ({ connection, role, driving }) => connection !== state.connection && role === 'driver' && !driving,
    );
    if (all.length === 0)
      return { act: 'ask', text: 'nobody else here may drive: they attach with --driver' };
    if (this.#from >= all.length) this.#from = 0;
    const left = all.slice(this.#from, this.#from + pageMax);
    let text = 'hand over to';
    const room = this.#columns() - noteCharacters - ', h others'.length - 1;
    const page: AttachedClient[] = [];
    for (const client of left) {
      const more = ` [${page.length + 1}] ${nameOf(client, state.clients)}`;
      // One at least, however narrow the screen is.
      if (page.length > 0 && text.length + more.length > room) break;
      text += more;
      page.push(client);
    }
    this.#from += page.length;
    this.#page = page;
    return { act: 'ask', text: page.length < all.length ? `${text}, h others` : text };
  }
}

function isDriving({ clients, connection, input }: AttachState): boolean {
  const own = clients.find((client) => client.connection === connection);
  return input?.allowed === true || own?.driving === true;
}

function driverOf({ clients, connection }: AttachState): AttachedClient | null {
  return clients.find((client) => client.driving && client.connection !== connection) ?? null;
}

function whoText({ clients, connection }: AttachState): string {
  const all = clients.map((client) => {
    const part = client.driving ? 'drives' : client.role === 'driver' ? 'may drive' : 'watches';
    return `${nameOf(client, clients)}${client.connection === connection ? ' (you)' : ''} ${part}`;
  });
  return all.length === 0 ? 'nobody is here' : all.join(', ');
}

/** Untrusted: one word, whatever is in it, and never the same for two connections. */
function nameOf({ actor, connection }: AttachedClient, clients: readonly AttachedClient[]): string {
  const shown = wordOf(actor);
  const isUnique = clients.every((other) => other.connection === connection || wordOf(other.actor) !== shown);
  return isUnique ? shown : `${shown}(${connection.slice(-4)})`;
}

function wordOf(actor: string): string {
  const word = escapeLine(actor).replaceAll(/\s/gu, '\\x20');
  return word.length <= nameCharactersMax ? word : `${word.slice(0, nameCharactersMax - 1)}…`;
}
