import type { InvitationSeen, SignInAnswer, SignInMethods } from '../src/contract/sign-in-schemas.ts';
import { call } from './api.ts';
import { element, field, timeText } from './elements.ts';
import { form, show } from './screen.ts';
import { proceed } from './sign-in-steps.ts';

/** The secret comes in the fragment, which browsers send to nobody, and leaves the address at once. */
export async function invitationPage(): Promise<void> {
  const invitation = location.hash.slice(1);
  history.replaceState(null, '', location.pathname);
  if (invitation === '') {
    show('Invitation', element('p', {}, 'Open the whole link that you were sent.'));
    return;
  }
  const seen = await call<InvitationSeen>('POST', '/auth/invitations/look', { invitation });
  const { passkeys } = await call<SignInMethods>('GET', '/auth/methods');
  const name =
    seen.name === null
      ? field(
          'Name',
          { autocomplete: 'username', autocapitalize: 'none', maxlength: 63, autofocus: true },
          'a-z, 0-9 and ._@- : you sign in with it, and it stays yours.',
        )
      : null;
  const displayName = field('How you are called (optional)', {
    autocomplete: 'name',
    required: false,
    maxlength: 63,
  });
  const password = field(
    'Password',
    { type: 'password', autocomplete: 'new-password', minlength: 8 },
    'At least 8 characters. A few words that nobody would guess are best.',
  );
  show(
    'Welcome to Sealwright',
    element(
      'p',
      {},
      seen.name === null ? 'You are invited' : `You are invited as ${seen.name}`,
      `, with the role ${seen.role}. The invitation is open until ${timeText(seen.expiresAt)}.`,
    ),
    form({
      action: 'Create account',
      fields: [name?.row ?? null, displayName.row, password.row],
      submit: async () => {
        const given = {
          invitation,
          password: password.input.value,
          ...(name === null ? {} : { name: name.input.value.trim().toLowerCase() }),
          ...(displayName.input.value.trim() === '' ? {} : { displayName: displayName.input.value.trim() }),
        };
        const answer = await call<SignInAnswer>('POST', '/auth/invitations/accept', given);
        proceed(answer, { passkeys, done: () => location.replace('/account') });
      },
    }),
  );
}
