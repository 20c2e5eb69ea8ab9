/* SPDX-License-Identifier: MIT */
/* parley-chat-strings: every text the widget shows by itself. A language is added by one more table. */

const en = {
	heading: "Chat",
	log: "Messages",
	empty: "Write a message to start the conversation.",
	label: "Your message",
	placeholder: "Write a message…",
	send: "Send",
	stop: "Stop",
	newSession: "New conversation",
	clear: "Clear conversation",
	clearAsk: "Clear this conversation?",
	clearYes: "Clear",
	clearNo: "Keep",
	you: "You",
	agent: "Assistant",
	older: "Earlier messages",
	latest: "Newest messages",
	answering: "is writing…",
	looking: "Looking something up…",
	online: "Ready",
	waiting: "Waiting to be sent",
	sending: "Sending…",
	unanswered: "Not answered",
	unsent: "Not sent",
	broken: "The answer broke off",
	stopped: "Stopped",
	retry: "Try again",
	reconnecting: "Connecting again…",
	errorLost: "That conversation is over. Your next message starts a new one.",
	errorNetwork: "The connection failed. Please try again.",
	errorBusy: "There is a lot going on right now. Please try again in a moment.",
	errorCap: "This chat has reached its limit for now. Please come back later.",
	errorAnswer: "The answer could not be finished. Please try again.",
	errorRefused: "This chat is not available here.",
	errorTooLarge: "This message is too long.",
	errorOther: "Something went wrong. Please try again.",
};

const de = {
	heading: "Chat",
	log: "Nachrichten",
	empty: "Schreiben Sie eine Nachricht, um das Gespräch zu beginnen.",
	label: "Ihre Nachricht",
	placeholder: "Nachricht schreiben…",
	send: "Senden",
	stop: "Anhalten",
	newSession: "Neues Gespräch",
	clear: "Gespräch löschen",
	clearAsk: "Dieses Gespräch löschen?",
	clearYes: "Löschen",
	clearNo: "Behalten",
	you: "Sie",
	agent: "Assistent",
	older: "Frühere Nachrichten",
	latest: "Neueste Nachrichten",
	answering: "schreibt…",
	looking: "Schlägt etwas nach…",
	online: "Bereit",
	waiting: "Wartet auf das Senden",
	sending: "Wird gesendet…",
	unanswered: "Nicht beantwortet",
	unsent: "Nicht gesendet",
	broken: "Die Antwort brach ab",
	stopped: "Angehalten",
	retry: "Erneut versuchen",
	reconnecting: "Verbindung wird wiederhergestellt…",
	errorLost: "Dieses Gespräch ist beendet. Ihre nächste Nachricht beginnt ein neues.",
	errorNetwork: "Die Verbindung ist fehlgeschlagen. Bitte versuchen Sie es erneut.",
	errorBusy: "Gerade ist viel los. Bitte versuchen Sie es gleich noch einmal.",
	errorCap: "Dieser Chat hat sein Limit vorerst erreicht. Bitte kommen Sie später wieder.",
	errorAnswer: "Die Antwort konnte nicht beendet werden. Bitte versuchen Sie es erneut.",
	errorRefused: "Dieser Chat ist hier nicht verfügbar.",
	errorTooLarge: "Diese Nachricht ist zu lang.",
	errorOther: "Etwas ist schiefgegangen. Bitte versuchen Sie es erneut.",
};

const es = {
	heading: "Chat",
	log: "Mensajes",
	empty: "Escriba un mensaje para iniciar la conversación.",
	label: "Su mensaje",
	placeholder: "Escriba un mensaje…",
	send: "Enviar",
	stop: "Detener",
	newSession: "Nueva conversación",
	clear: "Borrar la conversación",
	clearAsk: "¿Borrar esta conversación?",
	clearYes: "Borrar",
	clearNo: "Conservar",
	you: "Usted",
	agent: "Asistente",
	older: "Mensajes anteriores",
	latest: "Mensajes más recientes",
	answering: "está escribiendo…",
	looking: "Consultando información…",
	online: "Disponible",
	waiting: "Pendiente de envío",
	sending: "Enviando…",
	unanswered: "Sin respuesta",
	unsent: "No enviado",
	broken: "La respuesta se interrumpió",
	stopped: "Detenido",
	retry: "Reintentar",
	reconnecting: "Conectando de nuevo…",
	errorLost: "Esa conversación ha terminado. Su próximo mensaje iniciará una nueva.",
	errorNetwork: "La conexión ha fallado. Inténtelo de nuevo.",
	errorBusy: "Ahora mismo hay mucha actividad. Inténtelo de nuevo en un momento.",
	errorCap: "Este chat ha alcanzado su límite por ahora. Vuelva más tarde.",
	errorAnswer: "No se pudo terminar la respuesta. Inténtelo de nuevo.",
	errorRefused: "Este chat no está disponible aquí.",
	errorTooLarge: "Este mensaje es demasiado largo.",
	errorOther: "Algo ha salido mal. Inténtelo de nuevo.",
};

const zh = {
	heading: "聊天",
	log: "消息",
	empty: "写一条消息,开始对话。",
	label: "您的消息",
	placeholder: "输入消息…",
	send: "发送",
	stop: "停止",
	newSession: "新对话",
	clear: "清除对话",
	clearAsk: "要清除此对话吗?",
	clearYes: "清除",
	clearNo: "保留",
	you: "您",
	agent: "助手",
	older: "更早的消息",
	latest: "最新消息",
	answering: "正在输入…",
	looking: "正在查询…",
	online: "在线",
	waiting: "等待发送",
	sending: "正在发送…",
	unanswered: "未得到回复",
	unsent: "未发送",
	broken: "回复中断",
	stopped: "已停止",
	retry: "重试",
	reconnecting: "正在重新连接…",
	errorLost: "该对话已结束。您的下一条消息将开始新的对话。",
	errorNetwork: "连接失败,请重试。",
	errorBusy: "当前较为繁忙,请稍后再试。",
	errorCap: "此聊天目前已达到上限,请稍后再来。",
	errorAnswer: "回复未能完成,请重试。",
	errorRefused: "此处无法使用聊天。",
	errorTooLarge: "消息过长。",
	errorOther: "出错了,请重试。",
};

const ar = {
	heading: "الدردشة",
	log: "الرسائل",
	empty: "اكتب رسالة لبدء المحادثة.",
	label: "رسالتك",
	placeholder: "اكتب رسالة…",
	send: "إرسال",
	stop: "إيقاف",
	newSession: "محادثة جديدة",
	clear: "مسح المحادثة",
	clearAsk: "هل تريد مسح هذه المحادثة؟",
	clearYes: "مسح",
	clearNo: "إبقاء",
	you: "أنت",
	agent: "المساعد",
	older: "رسائل أقدم",
	latest: "أحدث الرسائل",
	answering: "يكتب الآن…",
	looking: "جارٍ البحث عن معلومة…",
	online: "متاح",
	waiting: "في انتظار الإرسال",
	sending: "جارٍ الإرسال…",
	unanswered: "لم تتم الإجابة",
	unsent: "لم تُرسل",
	broken: "انقطعت الإجابة",
	stopped: "تم الإيقاف",
	retry: "إعادة المحاولة",
	reconnecting: "جارٍ إعادة الاتصال…",
	errorLost: "انتهت تلك المحادثة. ستبدأ رسالتك التالية محادثة جديدة.",
	errorNetwork: "فشل الاتصال. يرجى المحاولة مرة أخرى.",
	errorBusy: "هناك ضغط كبير الآن. يرجى المحاولة بعد قليل.",
	errorCap: "بلغت هذه الدردشة حدها حاليًا. يرجى العودة لاحقًا.",
	errorAnswer: "تعذر إكمال الإجابة. يرجى المحاولة مرة أخرى.",
	errorRefused: "هذه الدردشة غير متاحة هنا.",
	errorTooLarge: "هذه الرسالة طويلة جدًا.",
	errorOther: "حدث خطأ ما. يرجى المحاولة مرة أخرى.",
};

export const STRINGS = { en, de, es, zh, ar };

const RIGHT_TO_LEFT = new Set(["ar"]);

/* The table for the first of these language tags that has one ("de-AT" finds "de"), as { language, direction, strings }. */
export function chooseStrings(tags) {
	const known = tags.map((tag) => (tag ?? "").toLowerCase().split(/[-_]/)[0]).find((tag) => Object.hasOwn(STRINGS, tag));
	const language = known ?? "en";
	return { language, direction: RIGHT_TO_LEFT.has(language) ? "rtl" : "ltr", strings: STRINGS[language] };
}

/* The key of the text that tells a visitor about an error of the client. */
export function errorString(error) {
	if (error.code === "session_lost")
		return "errorLost";
	if (error.code === "network" || error.code === "protocol")
		return "errorNetwork";
	if (error.code === "spend_cap_reached")
		return "errorCap";
	if (error.turnId !== null || error.code.startsWith("provider_"))
		return "errorAnswer";
	if (error.status === 401 || error.status === 403 || error.status === 404)
		return "errorRefused";
	if (error.status === 413)
		return "errorTooLarge";
	if (error.status === 429 || error.status === 503)
		return "errorBusy";
	return "errorOther";
}
