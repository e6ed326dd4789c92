import type { PasswordResetSeen, SignInAnswer, SignInMethods } from '../src/contract/sign-in-schemas.ts';
import { call } from './api.ts';
import { element, field, timeText } from './elements.ts';
import { form, show } from './screen.ts';
import { proceed } from './sign-in-steps.ts';

/** Another password, by the link of an administrator; the secret leaves the address at once, as an invitation's does. */
export async function resetPage(): Promise<void> {
  const reset = location.hash.slice(1);
  history.replaceState(null, '', location.pathname);
  if (reset === '') {
    show('New password', element('p', {}, 'Open the whole link that you were sent.'));
    return;
  }
  const seen = await call<PasswordResetSeen>('POST', '/auth/password-resets/look', { reset });
  const { passkeys } = await call<SignInMethods>('GET', '/auth/methods');
  // Password managers keep the new password with the name that stands beside it.
  const name = field('Name', { autocomplete: 'username', readonly: true, value: seen.name });
  const password = field(
    'New password',
    { type: 'password', autocomplete: 'new-password', minlength: 8 },
    'At least 8 characters. A few words that nobody would guess are best.',
  );
  show(
    'Choose a new password',
    element(
      'p',
      {},
      'Setting it signs you out everywhere else; your second factors stay. ',
      `The link is open until ${timeText(seen.expiresAt)}.`,
    ),
    form({
      action: 'Set the password',
      fields: [name.row, password.row],
      submit: async () => {
        const given = { reset, password: password.input.value };
        const answer = await call<SignInAnswer>('POST', '/auth/password-resets/accept', given);
        proceed(answer, { passkeys, done: () => location.replace('/account') });
      },
    }),
  );
}
