import { call, Problem } from './api.ts';
import { programLifeText } from './device.ts';
import { element } from './elements.ts';
import { actButton, notice, offerSignOut, show } from './screen.ts';

/**
 * A program on this computer wants to act as the person. Any program can open this page, so nothing is given before
 * the person has looked; what is asked for is checked by the server once more.
 */
export async function authorizePage(): Promise<void> {
  const { actor } = await call<{ actor: string }>('GET', '/api/v1/whoami');
  offerSignOut();
  const query = new URLSearchParams(location.search);
  const scopes = query.get('scope') ?? '';
  const facts: readonly (readonly [string, string])[] = [
    ['Program', query.get('client_id') ?? 'unknown'],
    ['Waits at', hostOf(query.get('redirect_uri') ?? '')],
    ['Will act as', actor],
    ['May do', scopes === '' ? 'all that you may do' : scopes],
    ['Stays signed in', programLifeText],
  ];
  const said = notice();
  show(
    'Let this program act as you?',
    element(
      'p',
      {},
      'Go on only if you ran ',
      element('code', {}, 'sealwright login'),
      ' on this computer, a moment ago.',
    ),
    element('dl', {}, ...facts.flatMap(([term, text]) => [element('dt', {}, term), element('dd', {}, text)])),
    said.box,
    element(
      'div',
      { class: 'row' },
      actButton('Let it in', said, answer('approve'), 'primary'),
      actButton('Refuse', said, answer('deny'), 'plain'),
    ),
  );
}

function answer(decision: 'approve' | 'deny'): () => Promise<void> {
  return async () => {
    const body = { query: location.search.slice(1), decision };
    try {
      const answered = await call<{ location: string }>('POST', '/api/v1/account/programs/approve', body);
      location.replace(answered.location);
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== 'auth.step-up') throw error;
      const next = location.pathname + location.search;
      location.replace(`/login?${new URLSearchParams({ fresh: '1', next })}`);
    }
  };
}

function hostOf(address: string): string {
  return URL.canParse(address) ? new URL(address).host : 'an unknown address';
}
