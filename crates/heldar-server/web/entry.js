// The way in: whether somebody may use the page, and what stands in its place while nobody may. Sign-in, first set-up, a
// password that must be changed, a server that cannot be reached.
//
// Owns: what is on screen, the page or an entry view, and whether polls go on. No token is kept: the session is a cookie
// that no script sees, and the token of a set-up link leaves the address as soon as it is read.

import { ApiError, get, post, setPolling, whenRefused } from './api.js';
import { account, passwordForm, signOut } from './account.js';
import { find, h, text, toast } from './dom.js';
import { field, makeForm, newPassword, showRefusal, wrongPassword } from './forms.js';

const RETRY_MS = 5_000;

/** `page`, or the name of the view that stands in its place; '' before anything is known. */
let shown = '';
let hooks;
let setupToken = '';
let asking = null;
let retry = 0;

/**
 * Opens the page as soon as somebody may use it, and shuts it when the server refuses later. `open()` is called each time
 * it opens, `shut()` each time it shuts.
 */
export function keepTheDoor(given) {
  hooks = given;
  takeSetupToken();
  window.addEventListener('hashchange', () => takeSetupToken() && shown !== 'page' && check());
  // Somebody may have signed in beside this page.
  document.addEventListener('visibilitychange', () => !document.hidden && shown !== 'page' && check());
  whenRefused(check);
  check();
}

/** Reads the token of a set-up link and takes it out of the address; whether there was one. */
function takeSetupToken() {
  const [, token] = /^#setup=(.+)$/.exec(location.hash) ?? [];
  if (!token) return false;
  setupToken = token;
  history.replaceState(null, '', location.pathname + location.search);
  return true;
}

/** Asks who is here and shows what is due; however often it is called meanwhile, once. */
function check() {
  asking ??= ask().finally(() => {
    asking = null;
  });
  return asking;
}

/** The same, but not by an answer to what was asked before now. */
async function checkAnew() {
  await asking;
  await check();
}

async function ask() {
  try {
    const person = await whoIsHere();
    if (person.must_change_password) show('password', () => changeView(person));
    else open(person);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (!error.isRefusal) noAnswer(error);
    else await refused(error).catch(noAnswer);
  }
}

/** A cookie that is no good any more is taken away by the answer to it; without one, access may be open. */
async function whoIsHere() {
  try {
    return await account.ask();
  } catch (error) {
    if (error.reason !== 'invalid_credential') throw error;
    return account.ask();
  }
}

async function refused(error) {
  const methods = await get('/api/v1/auth/methods');
  if (methods.setup_needed) show(setupToken ? 'setup' : 'setup-link', setupToken ? setupView : linkView);
  else if (methods.password) show('sign-in', () => signInView(methods.auth_enabled ? sessionNote() : error.text));
  else show('refused', () => refusedView(error));
}

/** A page that is open says so itself when the server does not answer. */
function noAnswer(error) {
  if (shown === 'page') return;
  const why = error.status === 0 ? 'The server does not answer.' : error.text;
  show('unreachable', unreachableView);
  text(find('entry').querySelector('.trouble'), why);
  retry = setTimeout(check, RETRY_MS);
}

// Open and shut

function open(person) {
  const before = account.person;
  if (before && before.id !== person.id) {
    // Nothing that one person saw is left for the next.
    location.reload();
    return;
  }
  account.set(person);
  find('open-access').hidden = !person.auth?.open;
  if (shown === 'page') return;
  shown = 'page';
  setupToken = '';
  find('entry').hidden = true;
  find('entry').replaceChildren();
  find('main').hidden = find('summary').hidden = false;
  setPolling(true);
  hooks.open();
}

/** Puts a view in place of the page. One that is there already stays, with what has been typed into it. */
function show(name, make) {
  clearTimeout(retry);
  if (shown === name) return;
  if (shown === 'page') shut();
  shown = name;
  const entry = find('entry');
  entry.dataset.view = name;
  entry.replaceChildren(...make());
  entry.hidden = false;
  const [first] = [...entry.querySelectorAll('form input')].filter((input) => !input.closest('[hidden]'));
  first?.focus();
}

function shut() {
  setPolling(false);
  hooks.shut();
  for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close();
  if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
  find('main').hidden = find('summary').hidden = true;
  find('account').hidden = find('open-access').hidden = true;
}

// Views

const title = (words) => h('h1', {}, words);
const line = (...words) => h('p', {}, ...words);

function sessionNote() {
  return account.person ? 'The session has ended. Sign in again to go on where you were.' : '';
}

function signInView(note) {
  const form = makeForm({
    label: 'Sign in',
    rows: [
      field('Username', 'username', { autocomplete: 'username', autocapitalize: 'none', spellcheck: false, required: true }),
      field('Password', 'password', { type: 'password', autocomplete: 'current-password', required: true }),
      h('label', { className: 'check' }, h('input', { type: 'checkbox', name: 'remember_device' }), 'Remember this device'),
    ],
    button: 'Sign in',
    check({ username, password }) {
      if (!username.trim()) return { field: 'username', text: 'Who are you?' };
      return password ? null : { field: 'password', text: 'The password is needed too.' };
    },
    async send({ username, password, remember_device: remember }) {
      const given = { username: username.trim(), password, cookie_only: true };
      if (remember) given.remember_device = true;
      await post('/api/v1/auth/login', given, { expectsRefusal: true });
      await checkAnew();
      if (shown === 'sign-in') showRefusal(form, { text: 'The password is right, but this browser did not keep the session: it may refuse cookies, or need https.' });
    },
    refused(error, { elements: { password } }) {
      if (error.status !== 401) return;
      password.focus();
      password.select();
    },
  });
  return [title('Sign in'), note ? line(note) : '', form].filter(Boolean);
}

function setupView() {
  const form = makeForm({
    label: 'First administrator',
    rows: [
      field('Username', 'username', { autocomplete: 'username', autocapitalize: 'none', spellcheck: false, required: true }),
      field('Name to be shown', 'display_name', { autocomplete: 'name' }, 'Need not be given.'),
      ...newPassword('Password', 'password'),
    ],
    button: 'Make administrator',
    check: ({ username, password, again }) =>
      username.trim() ? wrongPassword('password', password, again) : { field: 'username', text: 'Choose a username.' },
    async send({ username, password, display_name: name }) {
      const given = { setup_token: setupToken, username: username.trim(), password, cookie_only: true };
      if (name.trim()) given.display_name = name.trim();
      // The cookie comes with the answer.
      await post('/api/v1/auth/setup', given, { expectsRefusal: true });
      await checkAnew();
    },
    refused(error) {
      // Somebody else has been faster, or the link is too old.
      if (error.status === 409) check();
      else if (error.isRefusal || error.field === 'setup_token') refuseLink(form, error);
    },
  });
  return [title('Welcome to Heldar'), line('This server has no user yet. Make the first one: an administrator, who may do everything.'), form];
}

function refuseLink(form, error) {
  showRefusal(form, { text: `${error.text.replace(/\.$/, '')}. A set-up link is good for an hour; the command "heldar setup-link" prints one that is.` });
}

function linkView() {
  return [
    title('Welcome to Heldar'),
    line('This server has no user yet. The first one, an administrator, is made with the set-up link.'),
    line('The link stands in the log of the server, and this command, run on its machine, prints it:'),
    h('p', {}, h('code', {}, 'heldar setup-link')),
    line('Open that link in this browser.'),
  ];
}

function changeView(person) {
  const form = passwordForm({
    person,
    beside: [h('button', { className: 'button', type: 'button', onclick: signOut }, 'Sign out')],
    async done() {
      await checkAnew();
      toast('The password is changed.');
    },
  });
  return [title('Choose a password'), line(`Signed in as ${person.name}. The password that was set for you has to be replaced by one that only you know.`), form];
}

function refusedView(error) {
  return [title('No way in from here'), h('p', { className: 'trouble', role: 'alert' }, error.text), again('Try again')];
}

function unreachableView() {
  return [
    title('Server unreachable'),
    h('p', { className: 'trouble', role: 'alert' }),
    h('p', { className: 'muted' }, 'It is asked again every few seconds.'),
    again('Try again now'),
  ];
}

function again(words) {
  return h('div', { className: 'buttons' }, h('button', { className: 'button primary', type: 'button', onclick: check }, words));
}
