package injection

import (
	"strings"
	"sync"
)

// class is a set of the roles that a word can play in an attack.
type class uint64

const (
	override class = 1 << iota
	prior
	instructions
	reveal
	your
	you
	system
	pretend
	persona
	negation
	limits
	free
	machine
	jailbreak
	secret
	reply
	encode
	include
	following
	code
	piece
	danger
	asking
	only
	onward
	obey
	refuse
	transform
	language
	promote
	halt
	anything
	harm
	polite
	task
	place
	spell
	untrue
	must
	stands
)

// words lists each class in English, and the classes that carry an attack in the languages that attacks are most often
// translated to. A word may be in several classes.
func words() map[class]string {
	return map[class]string{
		override: `ignore ignoring disregard disregarding forget forgetting forgotten override overriding bypass bypassing neglect overlook discard dismiss
		overrule circumvent ignoriere ignorieren vergiss vergesse missachte ignora ignorar ignore ignorez oublie oubliez olvida olvide olvidar esquece
		esqueça dimentica ignoruj zapomnij negeer vergeet игнорируй игнорируйте забудь забудьте 忽略 无视 忘记 忘掉 無視 忘れ 忽视`,
		prior: `previous previously prior above earlier preceding foregoing initial initially original before existing past former beginning given received so-far
		vorherigen vorherige vorigen davor obigen bisherigen anteriores anterior previas précédentes précédents précédente precedenti precedente
		poprzednie vorige предыдущие предыдущих 之前 以上 上述 先前 前述`,
		instructions: `instruction instructions prompt prompts rule rules directive directives guideline guidelines guardrail guardrails order orders command commands
		programming programmed constraints assignment assignments anweisungen anweisung befehle regeln aufgaben aufgabe instrucciones instrucción reglas órdenes
		instruções regras consignes instructions règles istruzioni regole instrukcje zasady instructies инструкции инструкций правила 指令 规则 提示 指示 命令`,
		reveal: `reveal print show repeat output display tell give leak disclose share expose summarize recite return dump send say spell echo
		zeige nenne verrate wiederhole muestra revela repite imprime affiche révèle répète mostra ripeti покажи повтори 显示 重复 输出 告诉`,
		your:      `your ur deine deinen deiner ihre tus tu su sus vos tes votre ton seu sua suas tuo tue твои ваши 你的`,
		you:       `you u yourself du sie usted vous toi você ты вы 你`,
		system:    `system developer developers configuration config preamble`,
		pretend:   `pretend act acting roleplay role-play simulate simulating imagine immerse impersonate behave portray embody assume spiele simula actúa finge agis 扮演 假装`,
		persona:   `role character persona mode personality simulation rolle papel personaje rôle personnage`,
		negation:  `no not never without don't dont doesn't cannot can't won't neither nor none free zero isn't aren't not`,
		limits:    `restriction restrictions restricted limit limits limitation limitations limited rules filter filters moral morals morality ethics ethic ethical policy policies censorship boundaries bounds laws legality safeguards norms confines regulations restrict warnings moderation`,
		free:      `unrestricted uncensored unfiltered unbound unethical amoral rogue unlimited unmoderated lawless`,
		machine:   `ai chatgpt gpt gpt-3 gpt-4 openai llm assistant chatbot language-model bard claude gemini`,
		jailbreak: `dan d.a.n stan dude antigpt jailbroken anti-dan devmode aim jailbreak betterdan mongo`,
		secret:    `password passwords secret secrets passphrase passwort contraseña codeword hidden confidential`,
		reply:     `response responses answer answers reply replies output outputs message antwort respuesta réponse resposta`,
		encode:    `base64 base32 base16 base85 base58 rot13 caesar morse cipher hex hexadecimal binary ascii backward backwards reverse reversed emoji emojis emoticons encoding encode encoded bytes pseudocode leetspeak atbash vigenere pig obfuscated utf-8 unicode substitution`,
		include:   `embed embedding include including inclusion incorporate incorporating integrate integrating add adding insert inserting introduce introducing employ employing utilize utilizing use using implement implementing infuse weave append attach place inject make`,
		following: `following below subsequent next provided accompanying`,
		code:      `code codebase coding implementation algorithm snippet script program`,
		piece:     `snippet snippets block section excerpt segment fragment passage sample piece portion`,
		danger:    `subprocess popen os.system socket requests.post requests.get pexpect psutil pyperclip clipboard eval exec ctypes winreg paramiko smtplib shutil rmtree keylogger pynput urllib ftplib chmod killall shutdown shell keyboard pyautogui netcat getpass unlink crontab ssh nmap iptables win32api bash powershell`,
		asking:    `what why how when where who which explain describe discuss does should is are define analyze compare`,
		only:      `just only instead nothing simply`,
		onward:    `now onward onwards henceforth`,
		obey:      `obey comply adhere abide follow listen bound obeys adheres`,
		refuse:    `refuse refuses apologize apologise warn warning disclaimer disclaimers decline deny denial refusal refused moralize`,
		transform: `translate modify rewrite enhance change rephrase convert reverse alter adjust augment respond reply answer write format present display provide encode deliver express craft`,
		language:  `french spanish italian german russian chinese japanese korean arabic portuguese hindi dutch latin greek swedish turkish polish mandarin`,
		promote:   `mention suggest suggesting recommend recommending highlight emphasize brand newsletter subscribe promotion promotional promotions discount discounts website link url offers advertise advertisement advertising sponsor sponsored endorse endorsement customers products promote promoting http https www phishing bestselling`,
		halt:      `stop nevermind halt interrupt end scrap cancel`,
		anything:  `anything everything whatever alles todo tout tudo tutto`,
		harm:      `kill hate hitler destroy nazi murder bomb pwned hacked hijacked idiot`,
		polite:    `please now just and then so kindly also but`,
		task:      `headline headlines tweet poem story essay text texts statement`,
		place:     `beginning start end sentence conversation words`,
		spell:     `letter letters character characters bullet listed verbatim word-for-word rhyme acrostic riddle poem hint hints`,
		must:      `must will shall always never should have need required cannot`,
		stands:    `stands acronym called named known`,
		untrue:    `untrue false fake lie wrong misleading misinformation fabricated defamatory opposite incorrect dead`,
	}
}

// lexicon looks words up; it is made at first use.
var lexicon = sync.OnceValue(func() map[string]class {
	m := make(map[string]class, 1024)
	for c, list := range words() {
		for w := range strings.FieldsSeq(list) {
			m[w] |= c
		}
	}
	return m
})
