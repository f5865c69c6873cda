/**
 * The large providers, by their publicly known settings. GMX, Microsoft, AT&T, Naver, Libero, o2.pl, Free and wp.pl were held against
 * Thunderbird's public database in 2026, the other rows against nothing yet. `minIntervalSeconds` is set only where a public source
 * gives a figure, which is named beside it.
 */
import type { LoginMethod, Provider, ProviderServer } from './provider.ts';

const PASSWORD: LoginMethod = { method: 'password', preset: null };
const APP_PASSWORD: LoginMethod = { method: 'app_password', preset: null };
const CODE: LoginMethod = { method: 'authorization_code', preset: null };
const GOOGLE: LoginMethod = { method: 'oauth2', preset: 'google' };
const MICROSOFT: LoginMethod = { method: 'oauth2', preset: 'microsoft' };

const ENABLE = 'POP3 must be switched on in the settings of the mailbox first.';
const TWO_STEPS = 'With two-step login switched on, an app password takes the place of that of the account.';
const NO_BASIC = 'Passwords are refused, app passwords as well: it takes OAuth 2.';

interface Row extends Partial<Omit<Provider, 'pop3' | 'id' | 'name'>> {
  /** Port 995 with TLS from the first byte, as all of them have it. */
  host: string | null;
  username?: ProviderServer['username'];
}

function provider(id: string, name: string, { host, username = 'address', ...row }: Row): Provider {
  return {
    id,
    name,
    domains: [],
    mx: [],
    pop3: host === null ? null : { host, port: 995, tls: 'implicit', username },
    auth: host === null ? [] : [PASSWORD],
    minIntervalSeconds: null,
    isListingPartial: false,
    notes: [],
    documentation: null,
    ...row,
  };
}

const words = (text: string): string[] => text.trim().split(/\s+/);

/** `outlook.de` and so on: one name under many countries. */
const under = (name: string, endings: string): string[] => words(endings).map((ending) => `${name}.${ending}`);

const GMAIL_NOTES = [
  `${ENABLE} (Settings, Forwarding and POP/IMAP; for Workspace an administrator allows it.)`,
  'An app password needs 2-Step Verification. Workspace takes OAuth 2, or app passwords where its administrator allows them.',
  'What a session has retrieved is not listed again, unless the user name begins with `recent:`, which lists the last 30 days.',
  'What DELE does is set in Gmail: it may keep, archive or delete the message. A listing shows some hundred messages at a time.',
  'What Google has ended is that Gmail fetches from other servers by POP3; that others fetch from Gmail goes on.',
];

export const PROVIDERS: readonly Provider[] = [
  provider('google', 'Gmail and Google Workspace', {
    domains: ['gmail.com', 'googlemail.com'],
    mx: ['google.com', 'googlemail.com'],
    host: 'pop.gmail.com',
    auth: [GOOGLE, APP_PASSWORD],
    isListingPartial: true,
    notes: GMAIL_NOTES,
    documentation: 'https://support.google.com/mail/answer/7104828',
  }),
  provider('outlook', 'Outlook.com and Hotmail', {
    domains: [
      ...words('hotmail.com live.com msn.com outlook.com windowslive.com passport.com livemail.tw'),
      ...under('outlook', 'at be cl cz de dk es fr hu ie in it jp kr lv my ph pt sa sg sk co.id co.il co.th'),
      ...under('outlook', 'com.ar com.au com.br com.gr com.tr com.vn'),
      ...under('hotmail', 'be ca cl cz de dk es fi fr gr hu it lt lv my nl no ph rs se sg sk'),
      ...under(
        'hotmail',
        'co.id co.il co.in co.jp co.kr co.th co.uk co.za com.ar com.au com.br com.hk com.tr com.tw com.vn',
      ),
      ...under('live', 'at be ca cl cn de dk fi fr hk ie in it jp nl no ru se co.jp co.kr co.uk co.za'),
      ...under('live', 'com.ar com.au com.mx com.my com.ph com.pt com.sg'),
    ],
    mx: ['olc.protection.outlook.com'],
    host: 'outlook.office365.com',
    auth: [MICROSOFT],
    notes: [
      ENABLE,
      NO_BASIC,
      'A server in trouble answers that the login limit for 15 minutes is exceeded; fetch less often then.',
    ],
    documentation:
      'https://support.office.com/article/pop-imap-and-smtp-settings-for-outlook-com-d088b986-291d-42b8-9564-9c414e2aa040',
  }),
  provider('microsoft365', 'Microsoft 365', {
    domains: ['office365.com', '*.onmicrosoft.com'],
    mx: ['mail.protection.outlook.com', 'mx.microsoft'],
    host: 'outlook.office365.com',
    auth: [MICROSOFT],
    notes: [NO_BASIC, 'An administrator can switch POP3 off for a mailbox, and must consent to the application.'],
    documentation:
      'https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/pop3-and-imap4/pop3-and-imap4',
  }),
  provider('yahoo', 'Yahoo Mail', {
    domains: [
      ...words('yahoo.com ymail.com rocketmail.com myyahoo.com'),
      ...under(
        'yahoo',
        'at be ca cl cn cz de dk es fi fr gr hu ie in it nl no pl pt ro se co.id co.il co.in co.kr co.nz co.th',
      ),
      ...under(
        'yahoo',
        'co.uk co.za com.ar com.au com.br com.co com.hk com.mx com.my com.ph com.sg com.tr com.tw com.vn',
      ),
    ],
    mx: ['yahoodns.net'],
    host: 'pop.mail.yahoo.com',
    auth: [APP_PASSWORD],
    documentation: 'https://help.yahoo.com/kb/SLN4724.html',
  }),
  provider('aol', 'AOL and Verizon', {
    domains: words('aol.com aim.com verizon.net aol.de aol.fr aol.co.uk love.com wow.com games.com ygm.com'),
    host: 'pop.aol.com',
    auth: [APP_PASSWORD],
    documentation:
      'https://help.aol.com/articles/how-do-i-use-other-email-applications-to-send-and-receive-my-aol-mail',
  }),
  provider('att', 'AT&T', {
    domains: words(
      'att.net ameritech.net bellsouth.net currently.com flash.net nvbell.net pacbell.net prodigy.net sbcglobal.net snet.net swbell.net wans.net',
    ),
    host: 'inbound.att.net',
    auth: [APP_PASSWORD],
    notes: ['AT&T calls its app password a secure mail key.'],
    documentation: 'https://www.att.com/support/article/email-support/KM1010523/',
  }),
  provider('gmx', 'GMX', {
    domains: words('gmx.net gmx.de gmx.at gmx.ch gmx.eu gmx.biz gmx.org gmx.info mein.gmx mail.gmx email.gmx'),
    mx: ['gmx.net'],
    host: 'pop.gmx.net',
    auth: [PASSWORD, APP_PASSWORD],
    notes: [ENABLE, TWO_STEPS],
    documentation: 'https://hilfe.gmx.net/pop-imap/einschalten.html',
  }),
  provider('gmx-com', 'GMX international', {
    domains: words('gmx.com gmx.us gmx.co.uk gmx.fr gmx.es'),
    host: 'pop.gmx.com',
    auth: [PASSWORD, APP_PASSWORD],
    notes: [ENABLE, TWO_STEPS],
  }),
  provider('web.de', 'WEB.DE', {
    domains: words('web.de email.de'),
    mx: ['web.de'],
    host: 'pop3.web.de',
    auth: [PASSWORD, APP_PASSWORD],
    // https://github.com/jens-maus/yam/issues/305: logins to a free mailbox within 720 seconds are refused.
    minIntervalSeconds: 720,
    notes: [ENABLE, TWO_STEPS],
    documentation: 'https://hilfe.web.de/pop-imap/einschalten.html',
  }),
  provider('mail.com', 'mail.com', {
    domains: words(
      'mail.com email.com usa.com myself.com consultant.com post.com europe.com engineer.com accountant.com dr.com cheerful.com techie.com linuxmail.org london.com iname.com writeme.com',
    ),
    mx: ['mail.com'],
    host: 'pop.mail.com',
    auth: [PASSWORD, APP_PASSWORD],
    notes: ['POP3 comes with the paid product only.', ENABLE],
  }),
  provider('t-online', 'Telekom (T-Online)', {
    domains: words('t-online.de magenta.de'),
    host: 'securepop.t-online.de',
    auth: [APP_PASSWORD],
    notes: ['It takes the password for e-mail programs, which is set apart from that of the account.'],
  }),
  provider('freenet', 'freenet Mail', {
    domains: ['freenet.de'],
    host: 'mx.freenet.de',
    notes: [ENABLE],
  }),
  provider('ionos', 'IONOS (Germany)', {
    domains: words('online.de onlinehome.de 1und1.de'),
    mx: ['kundenserver.de', 'ionos.de'],
    host: 'pop.ionos.de',
  }),
  provider('ionos-com', 'IONOS', { mx: ['ionos.com', '1and1.com', 'perfora.net'], host: 'pop.ionos.com' }),
  provider('ionos-uk', 'IONOS (United Kingdom)', { mx: ['ionos.co.uk', '1and1.co.uk'], host: 'pop.ionos.co.uk' }),
  provider('ionos-fr', 'IONOS (France)', { mx: ['ionos.fr', '1and1.fr'], host: 'pop.ionos.fr' }),
  provider('ionos-es', 'IONOS (Spain)', { mx: ['ionos.es', '1and1.es'], host: 'pop.ionos.es' }),
  provider('strato', 'STRATO', { mx: ['rzone.de'], host: 'pop3.strato.de' }),
  provider('ovh', 'OVHcloud', {
    mx: ['mail.ovh.net'],
    host: 'ssl0.ovh.net',
    // http://help.ovh.co.uk/EmailPopTooOften
    minIntervalSeconds: 60,
  }),
  provider('zoho', 'Zoho Mail', {
    domains: words('zoho.com zohomail.com'),
    host: 'pop.zoho.com',
    auth: [PASSWORD, APP_PASSWORD],
    notes: [ENABLE, TWO_STEPS],
  }),
  provider('zoho-pro', 'Zoho Mail for organisations', {
    mx: ['zoho.com'],
    host: 'poppro.zoho.com',
    auth: [PASSWORD, APP_PASSWORD],
    notes: [ENABLE, TWO_STEPS],
  }),
  provider('zoho-eu', 'Zoho Mail (Europe)', {
    domains: words('zoho.eu zohomail.eu'),
    host: 'pop.zoho.eu',
    auth: [PASSWORD, APP_PASSWORD],
    notes: [ENABLE, TWO_STEPS],
  }),
  provider('zoho-eu-pro', 'Zoho Mail for organisations (Europe)', {
    mx: ['zoho.eu'],
    host: 'poppro.zoho.eu',
    auth: [PASSWORD, APP_PASSWORD],
    notes: [ENABLE, TWO_STEPS],
  }),
  provider('yandex', 'Yandex Mail', {
    domains: words('yandex.ru yandex.com yandex.by yandex.kz yandex.com.tr ya.ru narod.ru'),
    mx: ['yandex.ru', 'yandex.net'],
    host: 'pop.yandex.com',
    auth: [APP_PASSWORD],
    notes: [ENABLE],
  }),
  provider('mail.ru', 'Mail.ru', {
    domains: words('mail.ru bk.ru inbox.ru list.ru internet.ru'),
    mx: ['mail.ru'],
    host: 'pop.mail.ru',
    auth: [APP_PASSWORD],
    notes: ['It takes a password for external applications.'],
  }),
  provider('fastmail', 'Fastmail', {
    domains: words('fastmail.com fastmail.fm fastmail.net fastmail.org sent.com messagingengine.com'),
    mx: ['messagingengine.com'],
    host: 'pop.fastmail.com',
    auth: [APP_PASSWORD],
  }),
  provider('orange.fr', 'Orange (France)', { domains: words('orange.fr wanadoo.fr'), host: 'pop.orange.fr' }),
  provider('free.fr', 'Free (France)', {
    domains: ['free.fr'],
    host: 'pop.free.fr',
    username: 'local_part',
    documentation: 'https://assistance.free.fr/articles/configurer-de-maniere-avancee-mon-logiciel-de-messagerie-609',
  }),
  provider('sfr', 'SFR', {
    domains: words('sfr.fr neuf.fr cegetel.net club-internet.fr 9online.fr numericable.fr'),
    host: 'pop.sfr.fr',
  }),
  provider('laposte.net', 'La Poste', {
    domains: ['laposte.net'],
    host: 'pop.laposte.net',
    notes: ['Where the address is refused as the user name, try what is before its @.'],
  }),
  provider('libero.it', 'Libero', {
    domains: words('libero.it iol.it blu.it inwind.it giallo.it'),
    host: 'popmail.libero.it',
    notes: [TWO_STEPS],
  }),
  provider('seznam.cz', 'Seznam', {
    domains: words('seznam.cz email.cz post.cz spoluzaci.cz'),
    mx: ['seznam.cz'],
    host: 'pop3.seznam.cz',
    auth: [PASSWORD, APP_PASSWORD],
    notes: [ENABLE, TWO_STEPS],
  }),
  provider('wp.pl', 'WP Poczta', { domains: ['wp.pl'], host: 'pop3.wp.pl', username: 'local_part', notes: [ENABLE] }),
  provider('o2.pl', 'o2 Poczta', {
    domains: words('o2.pl go2.pl tlen.pl prokonto.pl'),
    host: 'poczta.o2.pl',
    username: 'local_part',
    notes: [ENABLE],
    documentation: 'https://pomoc.o2.pl/aktywacja-dostepu-dla-programow-pocztowych',
  }),
  provider('interia.pl', 'Interia', {
    domains: words('interia.pl interia.eu interia.com poczta.fm intmail.pl'),
    host: 'poczta.interia.pl',
    notes: [ENABLE],
  }),
  provider('onet.pl', 'Onet Poczta', {
    domains: words(
      'onet.pl onet.eu onet.com.pl poczta.onet.pl poczta.onet.eu op.pl vp.pl autograf.pl buziaczek.pl spoko.pl',
    ),
    host: 'pop3.poczta.onet.pl',
    notes: [ENABLE],
  }),
  provider('qq', 'QQ Mail', {
    domains: words('qq.com vip.qq.com foxmail.com'),
    host: 'pop.qq.com',
    auth: [CODE],
    notes: [ENABLE],
  }),
  provider('qq-exmail', 'Tencent Exmail', {
    mx: ['mxbiz1.qq.com', 'mxbiz2.qq.com'],
    host: 'pop.exmail.qq.com',
    auth: [CODE, PASSWORD],
    notes: [ENABLE],
  }),
  provider('163', 'NetEase 163', { domains: ['163.com'], host: 'pop.163.com', auth: [CODE], notes: [ENABLE] }),
  provider('126', 'NetEase 126', { domains: ['126.com'], host: 'pop.126.com', auth: [CODE], notes: [ENABLE] }),
  provider('yeah.net', 'NetEase yeah.net', {
    domains: ['yeah.net'],
    host: 'pop.yeah.net',
    auth: [CODE],
    notes: [ENABLE],
  }),
  provider('naver', 'Naver', {
    domains: ['naver.com'],
    host: 'pop.naver.com',
    auth: [PASSWORD, APP_PASSWORD],
    notes: [ENABLE, TWO_STEPS],
    documentation: 'https://help.naver.com/service/30029/contents/21342?osType=PC&lang=ko',
  }),
  provider('comcast', 'Comcast (Xfinity)', {
    domains: ['comcast.net'],
    host: 'pop.comcast.net',
    notes: [
      'Access by other programs must be allowed in the settings. Mailboxes that have moved to Yahoo Mail are there.',
    ],
  }),
  provider('cox', 'Cox', {
    domains: ['cox.net'],
    host: 'pop.cox.net',
    auth: [APP_PASSWORD, PASSWORD],
    notes: ['Cox mail has moved to Yahoo: where this server refuses, use that of Yahoo with an app password.'],
  }),
  provider('icloud', 'iCloud Mail', {
    domains: words('icloud.com me.com mac.com'),
    mx: ['mail.icloud.com'],
    host: null,
    notes: ['iCloud Mail has IMAP, and no POP3.'],
    documentation: 'https://support.apple.com/102525',
  }),
  provider('proton', 'Proton Mail', {
    domains: words('proton.me protonmail.com protonmail.ch pm.me'),
    mx: ['protonmail.ch'],
    host: null,
    notes: ['Proton Mail has no POP3; its Bridge has IMAP and SMTP only.'],
    documentation: 'https://proton.me/mail/bridge',
  }),
  provider('tuta', 'Tuta', {
    domains: words('tuta.com tutanota.com tutanota.de tutamail.com tuta.io keemail.me'),
    mx: ['tutanota.de'],
    host: null,
    notes: ['Tuta has neither POP3 nor IMAP.'],
  }),
];
