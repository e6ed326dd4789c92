import { programLife } from '../src/contract/oauth.ts';
import type { DeviceView } from '../src/contract/oauth-schemas.ts';
import { call } from './api.ts';
import { element, field, timeText } from './elements.ts';
import { actButton, form, notice, offerSignOut, show } from './screen.ts';

/** A person looks at what waits with the code before it is let in: whoever sent the code may not be who they say. */
export async function devicePage(): Promise<void> {
  await call('GET', '/api/v1/account');
  offerSignOut();
  const code = field(
    'Code',
    { class: 'code', autocomplete: 'off', autocapitalize: 'characters', maxlength: 16, autofocus: true },
    'As the other device shows it.',
  );
  code.input.value = location.hash.slice(1);
  show(
    'Sign in a device',
    form({
      action: 'Look it up',
      fields: [code.row],
      submit: async () => {
        const userCode = code.input.value.trim();
        const found = await call<DeviceView>('POST', '/api/v1/account/devices/find', { userCode });
        confirmDevice(userCode, found);
      },
    }),
  );
}

/** How long what is let in lasts. */
export const programLifeText = `at most ${programLife.days} days, ${programLife.idleDays} without use, or until you end it in your account`;

function confirmDevice(userCode: string, device: DeviceView): void {
  const said = notice();
  const answer = (decision: 'approve' | 'deny') => async () => {
    await call('POST', '/api/v1/account/devices/approve', { userCode, decision });
    history.replaceState(null, '', location.pathname);
    show(
      decision === 'approve' ? 'The device is signed in' : 'The device was refused',
      element('p', {}, 'You can close this page.'),
    );
  };
  const facts: readonly (readonly [string, string])[] = [
    ['Code', userCode.toUpperCase()],
    ['Program', device.client],
    ['Asked from', device.address ?? 'this machine'],
    ['Says it is', device.userAgent ?? 'nothing'],
    ['Asked at', timeText(device.askedAt)],
    ['May do', device.scopes === null ? 'all that you may do' : device.scopes.join(', ')],
    ['Stays signed in', programLifeText],
  ];
  show(
    'Is this your device?',
    element('p', {}, 'It will act as you. Go on only if you started this yourself, a moment ago.'),
    element('dl', {}, ...facts.flatMap(([term, text]) => [element('dt', {}, term), element('dd', {}, text)])),
    said.box,
    element(
      'div',
      { class: 'row' },
      actButton('Sign it in', said, answer('approve'), 'primary'),
      actButton('Refuse', said, answer('deny'), 'plain'),
    ),
  );
}
