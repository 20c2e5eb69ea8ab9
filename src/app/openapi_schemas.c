/* SPDX-License-Identifier: MIT */
/* openapi_schemas: the shapes of all answers, by the names that the routes give them. */
#include "app/openapi_schemas.h"

#define REF(name) "{'$ref':'#/components/schemas/" #name "'}"
#define TEXT "{'type':'string'}"
#define TEXT_OR_NULL "{'type':['string','null']}"
#define COUNT_OF "{'type':'integer','minimum':0}"
#define TIME "{'type':'string','format':'date-time'}"
#define TIME_OR_NULL "{'type':['string','null'],'format':'date-time'}"
#define IDENT(prefix) "{'type':'string','pattern':'^" prefix "_[0-9a-hjkmnp-tv-z]{26}$'}"
/* An object of these members and no others. */
#define CLOSED(help, required, members) \
	"{'type':'object','description':'" help "','required':[" required "],'properties':{" members "},'additionalProperties':false}"
#define OPEN(help, required, members) "{'type':'object','description':'" help "','required':[" required "],'properties':{" members "}}"
#define LIST_OF(help, item)                                                                                                         \
	CLOSED(help, "'data','has_more','next'",                                                                                    \
	       "'data':{'type':'array','items':" REF(item) "},'has_more':{'type':'boolean','description':'Whether there is more'}," \
	       "'next':{'type':['string','null'],'description':'The cursor of the next page'}")
#define LIST_EXAMPLE(item) "{'data':[" item "],'has_more':false,'next':null}"

#define SESSION_ID "ses_01jcx3e8q6f0t9v1n4m7r2k5wd"
#define CONVERSATION_ID "cnv_01jcx3e8q6c2p5x8a1d4g7j0ms"
#define TURN_ID "trn_01jcx3f2m8e4a6s9h1k3q7v5xy"
#define EXAMPLE_TOKEN "st_AbCdEfGh0123456789"

/* --- agents --- */

static const char agent[] = CLOSED("What answers",
	"'id','name','title','instructions','provider','model','language','temperature','max_output_tokens','tools','tool_mode','max_iterations','fallbacks','version','created_at','updated_at'",
	"'id':" IDENT("agt") ",'name':{'type':'string','pattern':'^[a-z0-9][a-z0-9-]*$','maxLength':64},'title':" TEXT ",'instructions':" TEXT ","
	"'provider':" TEXT ",'model':" TEXT ",'language':" TEXT ",'temperature':{'type':['number','null'],'minimum':0,'maximum':2},"
	"'max_output_tokens':" COUNT_OF ",'tools':{'type':'array','items':{'type':'string'},'maxItems':64},'tool_mode':{'enum':['native','text']},"
	"'max_iterations':" COUNT_OF ",'fallbacks':{'type':'array','maxItems':4,'items':{'type':'object','required':['provider'],"
	"'properties':{'provider':" TEXT ",'model':" TEXT "},'additionalProperties':false}},"
	"'version':{'type':'integer','minimum':1},'created_at':" TIME ",'updated_at':" TIME);
#define AGENT_EXAMPLE                                                                                                                  \
	"{'id':'agt_01jcx3c4n7b0d3f6h9k2m5q8st','name':'baker','title':'The baker','instructions':'Answer briefly.','provider':'echo'," \
	"'model':'echo','language':'en','temperature':0.5,'max_output_tokens':0,'tools':[],'tool_mode':'native','max_iterations':0,'fallbacks':[],'version':1,"  \
	"'created_at':'2026-01-02T03:00:00.000Z',"                                                                                    \
	"'updated_at':'2026-01-02T03:00:00.000Z'}"

/* --- tools --- */

#define TOOL_REQUIRED "'id','name','description','parameters','url','timeout_ms','max_bytes','generation','version','created_at','updated_at'"
#define TOOL_MEMBERS                                                                                                                  \
	"'id':" IDENT("tol") ",'name':{'type':'string','pattern':'^[A-Za-z0-9_-]{1,64}$'},'description':" TEXT ","                    \
	"'parameters':{'type':['object','null'],'description':'JSON Schema of its arguments; null: the record cannot be read'},'url':" TEXT "," \
	"'timeout_ms':" COUNT_OF ",'max_bytes':" COUNT_OF ","                                                                         \
	"'generation':{'type':'integer','minimum':1,'description':'Which secret it has, counted from 1'},"                            \
	"'version':{'type':'integer','minimum':1},'created_at':" TIME ",'updated_at':" TIME
static const char tool[] = CLOSED("What agents can call", TOOL_REQUIRED, TOOL_MEMBERS);
static const char tool_with_secret[] = CLOSED("A tool and the secret that its calls are signed with", TOOL_REQUIRED ",'secret'",
	TOOL_MEMBERS ",'secret':{'type':'string','pattern':'^whsec_[A-Za-z0-9+/]{43}=$','description':'As Standard Webhooks has it'}");
#define TOOL_EXAMPLE_MEMBERS                                                                                                          \
	"'id':'tol_01jcx3c9d2f5h8k1m4p7r0t3vx','name':'find_order','description':'Looks an order up','parameters':{'type':'object',"  \
	"'properties':{'order':{'type':'string'}},'required':['order']},'url':'https://shop.example/tools/order','timeout_ms':0,"     \
	"'max_bytes':0,'generation':1,'version':1,'created_at':'2026-01-02T03:00:00.000Z','updated_at':'2026-01-02T03:00:00.000Z'"
#define TOOL_EXAMPLE "{" TOOL_EXAMPLE_MEMBERS "}"

/* --- messages --- */

static const char content_part[] = OPEN("A part of a content; what else it holds belongs to the type", "'type'", "'type':" TEXT);

static const char message[] = CLOSED("A message; seq is its place in the conversation", "'id','seq','conversation_id','role','content','created_at'",
	"'id':" IDENT("msg") ",'seq':{'type':'integer','minimum':1},'conversation_id':" IDENT("cnv") ","
	"'role':{'enum':['system','developer','user','assistant','tool','unknown']},"
	"'content':{'description':'null: it was deleted, or cannot be read','oneOf':[" TEXT ",{'type':'array','items':" REF(ContentPart) "},{'type':'null'}]},"
	"'corrupt':{'const':true,'description':'The stored message cannot be read'},'metadata':{'type':'object'},'name':" TEXT ","
	"'tool_calls':{'type':'array'},'tool_call_id':" TEXT ",'is_error':{'type':'boolean'},"
	"'incomplete':{'const':true,'description':'The turn was cancelled before its end'},'audio_url':" TEXT ",'model':" TEXT ",'client_id':" TEXT ",'tokens_used':" COUNT_OF ","
	"'latency_ms':" COUNT_OF ",'turn_id':" IDENT("trn") ",'version_of':" IDENT("msg") ",'deleted_at':" TIME ",'redacted_at':" TIME ",'created_at':" TIME);
#define USER_MESSAGE                                                                                                                 \
	"{'id':'msg_01jcx3f2m8w5y8a1c4e7g0j3np','seq':1,'conversation_id':'" CONVERSATION_ID "','role':'user','content':'Do you bake rye bread?'," \
	"'turn_id':'" TURN_ID "','created_at':'2026-01-02T03:04:05.000Z'}"
#define ANSWER_MESSAGE                                                                                                                \
	"{'id':'msg_01jcx3f2pv6x9b2d5f8h1k4mqr','seq':2,'conversation_id':'" CONVERSATION_ID "','role':'assistant','content':'Every morning.'," \
	"'model':'echo','tokens_used':3,'latency_ms':2,'turn_id':'" TURN_ID "','created_at':'2026-01-02T03:04:05.002Z'}"

static const char message_or_list[] = "{'oneOf':[" REF(Message) "," CLOSED("What a batch made, in its order", "'data'",
	"'data':{'type':'array','minItems':1,'items':" REF(Message) "}") "]}";

static const char message_list_or_document[] = "{'oneOf':[" REF(MessageList) "," CLOSED("The page as a provider takes it, and aside what its form cannot say",
	"'format','document','aside','has_more','next'",
	"'format':{'enum':['openai','anthropic','gemini']},'document':{'type':'object'},'aside':{},'has_more':{'type':'boolean'},'next':" TEXT_OR_NULL) "]}";

static const char context_message[] = OPEN("A message of a context; without an id it was put in for the missing result of a tool call", "'role','content'",
	"'role':{'enum':['system','developer','user','assistant','tool','unknown']},'content':{'type':['string','array']},"
	"'repaired':{'const':true,'description':'It is not stored'}");
#define CONTEXT_FACTS "'tokens':" COUNT_OF ",'first_seq':" COUNT_OF ",'last_seq':" COUNT_OF ",'truncated':{'type':'boolean','description':'Not even the newest turn fits'}"
static const char context[] = "{'oneOf':[" CLOSED("What a model is given of a conversation; tokens are estimated, seqs are 0 without messages",
	"'system','summary','summary_upto_seq','messages','tokens','first_seq','last_seq','truncated'",
	"'system':" TEXT_OR_NULL ",'summary':" TEXT_OR_NULL ",'summary_upto_seq':" COUNT_OF ",'messages':{'type':'array','items':" REF(ContextMessage) "}," CONTEXT_FACTS)
	"," CLOSED("The same as a provider takes it, and aside what its form cannot say", "'format','document','aside','tokens','first_seq','last_seq','truncated'",
	"'format':{'enum':['openai','anthropic','gemini']},'document':{'type':'object'},'aside':{}," CONTEXT_FACTS) "]}";

static const char compression[] = CLOSED("The summary that now stands for the messages up to upto_seq; messages is how many it newly stands for",
	"'conversation_id','summary','method','upto_seq','messages','tokens_before','tokens_after'",
	"'conversation_id':" IDENT("cnv") ",'summary':" TEXT_OR_NULL ",'method':{'enum':['extract','provider',null]},'upto_seq':" COUNT_OF ",'messages':" COUNT_OF ","
	"'tokens_before':" COUNT_OF ",'tokens_after':" COUNT_OF);

/* --- sessions --- */

#define SESSION_REQUIRED                                                                                                     \
	"'id','name','agent','user','client_type','context','title','status','tags','metadata','state','config','conversation_id'," \
	"'website_domain','version','created_at','updated_at','ended_at','message_count','last_activity_at','expires_at'"
#define SESSION_MEMBERS                                                                                                         \
	"'id':{'type':'string','minLength':1,'maxLength':128,'description':'The id that was chosen for it, or ses_ and 26 characters'}," \
	"'name':{'type':'string','description':'Readable, unique in its site'},'agent':" TEXT ",'user':" TEXT ",'client_type':" TEXT ","  \
	"'context':" TEXT_OR_NULL ",'title':" TEXT ",'status':{'enum':['active','ended','archived']},"                              \
	"'tags':{'type':'array','items':{'type':'string','minLength':1,'maxLength':64}},"                                           \
	"'metadata':{'type':'object','additionalProperties':" TEXT "},'state':{'type':'object'},'config':{'type':'object'},"         \
	"'conversation_id':" IDENT("cnv") ",'website_domain':" TEXT_OR_NULL ",'version':{'type':'integer','minimum':1},"              \
	"'created_at':" TIME ",'updated_at':" TIME ",'ended_at':" TIME_OR_NULL ",'message_count':" COUNT_OF ","                       \
	"'last_activity_at':" TIME ",'expires_at':" TIME_OR_NULL ","                                                                  \
	"'ip_address':{'type':['string','null'],'description':'Only with the secret key'}"
#define TOKEN_MEMBERS "'token':{'type':'string','pattern':'^st_'},'token_expires_at':" TIME

static const char session[] = CLOSED("What one user and one agent share", SESSION_REQUIRED, SESSION_MEMBERS);
static const char session_with_token[] = CLOSED("A session and a token for it", SESSION_REQUIRED ",'token','token_expires_at'", SESSION_MEMBERS "," TOKEN_MEMBERS);
static const char session_with_messages[] = CLOSED("A session, with its newest messages when asked for", SESSION_REQUIRED,
	SESSION_MEMBERS ",'messages':{'type':'array','items':" REF(Message) "}");
static const char token[] = CLOSED("A fresh token for a session", "'token','token_expires_at'", TOKEN_MEMBERS);

#define SESSION_EXAMPLE_MEMBERS                                                                                               \
	"'id':'" SESSION_ID "','name':'calm-river-4711','agent':'baker','user':'anna','client_type':'web','context':null,"        \
	"'title':'Bread','status':'active','tags':['bread'],'metadata':{'order':'1042'},'state':{},'config':{},"               \
	"'conversation_id':'" CONVERSATION_ID "','website_domain':'shop.example','version':1,'created_at':'2026-01-02T03:04:00.000Z'," \
	"'updated_at':'2026-01-02T03:04:00.000Z','ended_at':null,'message_count':2,'last_activity_at':'2026-01-02T03:04:05.002Z',"  \
	"'expires_at':null"
#define TOKEN_EXAMPLE_MEMBERS "'token':'" EXAMPLE_TOKEN "','token_expires_at':'2026-01-03T03:04:05.000Z'"
#define SESSION_EXAMPLE "{" SESSION_EXAMPLE_MEMBERS "}"

/* --- conversations --- */

static const char conversation[] = CLOSED("A line of messages in a session",
	"'id','title','active','parent_id','base_seq','message_count','created_at','last_activity_at'",
	"'id':" IDENT("cnv") ",'title':" TEXT ",'active':{'type':'boolean','description':'Whether the session goes on in it'},"
	"'parent_id':{'type':['string','null'],'description':'Whose messages it begins with, where that is one of this session'},"
	"'base_seq':{'type':'integer','minimum':0,'description':'The last message that it shares with where it came from; 0: none'},"
	"'message_count':" COUNT_OF ",'created_at':" TIME ",'last_activity_at':" TIME);
#define CONVERSATION_EXAMPLE                                                                                                       \
	"{'id':'" CONVERSATION_ID "','title':'','active':true,'parent_id':null,'base_seq':0,'message_count':2,"                   \
	"'created_at':'2026-01-02T03:04:00.000Z','last_activity_at':'2026-01-02T03:04:05.002Z'}"
static const char message_versions[] = CLOSED("A message and the other versions of it, by time", "'data'",
	"'data':{'type':'array','minItems':1,'items':" REF(Message) "}");

/* --- turns --- */

static const char usage[] = CLOSED("Tokens as the provider counts them, of all its calls", "'input_tokens','output_tokens','total_tokens','cost'",
	"'input_tokens':" COUNT_OF ",'output_tokens':" COUNT_OF ",'total_tokens':" COUNT_OF ","
	"'cost':{'type':['number','null'],'minimum':0,'description':'In units of the currency; null: there is no price for the model'}");
#define USAGE_EXAMPLE "{'input_tokens':6,'output_tokens':3,'total_tokens':9,'cost':0}"

#define TOOL_RESULT                                                                                                                     \
	"'tool_call_id':" TEXT ",'name':" TEXT ",'result':{'description':'What the tool said, or why it failed'},'is_error':{'type':'boolean'},'duration_ms':" COUNT_OF
static const char step[] = CLOSED("What the model said before it asked for tools, and what they said", "'index','text','tool_calls','results'",
	"'index':{'type':'integer','minimum':1},'text':" TEXT ",'tool_calls':{'type':'array','items':" CLOSED("A call", "'id','name','arguments'",
	"'id':" TEXT ",'name':" TEXT ",'arguments':{'description':'JSON, or the text that is none'}") "},"
	"'results':{'type':'array','items':" CLOSED("A result", "'tool_call_id','name','result','is_error','duration_ms'", TOOL_RESULT) "}");
#define STEPS "'steps':{'type':'array','items':" REF(Step) "}"

static const char answer[] = CLOSED("What came of a message", "'session_id','turn_id','result','success','finish','message','user_message','usage','steps'",
	"'session_id':" TEXT ",'turn_id':" IDENT("trn") ",'result':{'type':'string','description':'The text of the answer'},"
	"'success':{'type':'boolean','description':'false: it was cancelled, or the model went on asking for tools'},"
	"'finish':{'enum':['stop','length','tool','filter','cancelled','iterations']},'message':{'oneOf':[" REF(Message) ",{'type':'null'}]},'user_message':" REF(Message) ",'usage':" REF(Usage) ","
	STEPS "," TOKEN_MEMBERS);
static const char turn[] = CLOSED("A message and all it takes to answer it",
	"'id','session_id','conversation_id','status','user_seq','answer_seq','provider','model','finish','result','error','usage','steps','created_at','ended_at'",
	"'id':" IDENT("trn") ",'session_id':" TEXT ",'conversation_id':" IDENT("cnv") ",'status':{'enum':['running','done','failed','cancelled']},"
	"'user_seq':{'type':'integer','minimum':1},'answer_seq':{'type':['integer','null'],'minimum':1},'provider':" TEXT ",'model':" TEXT_OR_NULL ","
	"'finish':" TEXT_OR_NULL ",'result':{'type':['string','null'],'description':'The text as far as it has come; in a list, null for one whose text is its message'},"
	"'error':{'oneOf':[" CLOSED("Why it failed", "'code','detail'", "'code':" TEXT ",'detail':" TEXT_OR_NULL) ",{'type':'null'}]},"
	"'usage':" REF(Usage) "," STEPS ",'created_at':" TIME ",'ended_at':" TIME_OR_NULL);

#define TURN_EXAMPLE                                                                                                                    \
	"{'id':'" TURN_ID "','session_id':'" SESSION_ID "','conversation_id':'" CONVERSATION_ID "','status':'done','user_seq':1,'answer_seq':2," \
	"'provider':'echo','model':'echo','finish':'stop','result':'Every morning.','error':null,'usage':" USAGE_EXAMPLE ",'steps':[],"        \
	"'created_at':'2026-01-02T03:04:05.000Z','ended_at':'2026-01-02T03:04:05.002Z'}"

/* --- a session in numbers, and with what is below it --- */

#define MESSAGE_COUNTS                                                                                                          \
	CLOSED("Those stored in the session, by role", "'total','system','developer','user','assistant','tool'",                    \
	       "'total':" COUNT_OF ",'system':" COUNT_OF ",'developer':" COUNT_OF ",'user':" COUNT_OF ",'assistant':" COUNT_OF ",'tool':" COUNT_OF)
#define TURN_COUNTS                                                                                                             \
	CLOSED("Turns by status", "'total','running','done','failed','cancelled'",                                                   \
	       "'total':" COUNT_OF ",'running':" COUNT_OF ",'done':" COUNT_OF ",'failed':" COUNT_OF ",'cancelled':" COUNT_OF)
#define TOKEN_COUNTS                                                                                                            \
	CLOSED("Tokens that messages say they cost, and that turns used", "'messages','input','output','total'",                    \
	       "'messages':" COUNT_OF ",'input':" COUNT_OF ",'output':" COUNT_OF ",'total':" COUNT_OF)
#define SPENT_MEMBERS "'turns':" COUNT_OF ",'input_tokens':" COUNT_OF ",'output_tokens':" COUNT_OF ",'cost':" COST
#define SPENT(help) CLOSED(help, "'turns','input_tokens','output_tokens','cost'", SPENT_MEMBERS)
#define COST "{'type':'number','minimum':0,'description':'In units of the currency; calls whose price is not known are left out'}"
#define SPENT_EXAMPLE "{'turns':1,'input_tokens':6,'output_tokens':3,'cost':0.000045}"
static const char session_stats[] = CLOSED("A session in numbers, over all its conversations",
	"'session_id','object','message_count','conversations','messages','turns','tokens','usage','content_bytes','first_message_at','last_message_at'",
	"'session_id':" TEXT ",'object':{'const':'session_stats'},'message_count':{'type':'integer','minimum':0,'description':'What the active conversation sees'},"
	"'conversations':" COUNT_OF ",'messages':" MESSAGE_COUNTS ",'turns':" TURN_COUNTS ",'tokens':" TOKEN_COUNTS ","
	"'usage':" SPENT("What its turns used and cost, cleared histories included") ",'content_bytes':" COUNT_OF ","
	"'first_message_at':" TIME_OR_NULL ",'last_message_at':" TIME_OR_NULL);
#define SESSION_STATS_EXAMPLE                                                                                                   \
	"{'session_id':'" SESSION_ID "','object':'session_stats','message_count':2,'conversations':1,"                              \
	"'messages':{'total':2,'system':0,'developer':0,'user':1,'assistant':1,'tool':0},'turns':{'total':1,'running':0,'done':1,'failed':0,'cancelled':0}," \
	"'tokens':{'messages':3,'input':6,'output':3,'total':9},'usage':" SPENT_EXAMPLE ",'content_bytes':48,'first_message_at':'2026-01-02T03:04:05.000Z',"  \
	"'last_message_at':'2026-01-02T03:04:05.002Z'}"
#define CONVERSATIONS_MEMBER "'conversations':{'type':'array','maxItems':100,'description':'The first hundred','items':" REF(Conversation) "}"
static const char session_info[] = CLOSED("A session and its conversations", "'object','session','conversation_count','conversations'",
	"'object':{'const':'session_info'},'session':" REF(Session) ",'conversation_count':" COUNT_OF "," CONVERSATIONS_MEMBER);
static const char session_full[] = CLOSED("A session, its conversations, its numbers and a page of its newest messages",
	"'object','session','stats','conversations','messages'",
	"'object':{'const':'session_full'},'session':" REF(Session) ",'stats':" REF(SessionStats) "," CONVERSATIONS_MEMBER ",'messages':" REF(MessageList));

/* --- sites, presets, templates --- */

#define CAP_OF(help) "{'type':['number','null'],'minimum':0,'description':'" help "; null: any amount'}"
#define SPEND_CAPS                                                                                                     \
	CLOSED("What may be spent, in units of the currency", "'session','user_day','user_month','site_day','site_month'", \
	       "'session':" CAP_OF("A session in its whole life") ",'user_day':" CAP_OF("A user in a day, UTC") ",'user_month':"   \
	       CAP_OF("A user in a calendar month") ",'site_day':" CAP_OF("The site in a day") ",'site_month':" CAP_OF("The site in a calendar month"))
#define SPEND_CAPS_EXAMPLE "{'session':1.5,'user_day':null,'user_month':5,'site_day':20,'site_month':400}"
#define SECONDS_OF(help) "{'type':'integer','minimum':0,'description':'" help ", in seconds; 0: for ever'}"
static const char site[] = CLOSED("A website or app", "'id','name','title','domains','origins','is_paused','ttl','spend_caps','currency','created_at'",
	"'id':" IDENT("sit") ",'name':" TEXT ",'title':" TEXT ",'domains':{'type':'array','items':" TEXT "},'origins':{'type':'array','items':" TEXT "},"
	"'is_paused':{'type':'boolean'},'ttl':" CLOSED("How long things are kept", "'session','memory','knowledge','history'",
	"'session':" SECONDS_OF("Idle time after which an active session ends") ",'memory':" SECONDS_OF("Memory of a session") ","
	"'knowledge':" SECONDS_OF("Knowledge") ",'history':" SECONDS_OF("An ended session and its messages")) ",'spend_caps':" SPEND_CAPS ",'currency':" TEXT ",'created_at':" TIME);

static const char spend[] = CLOSED("What a site or one of its users spent in a month", "'object','month','user','spend_caps','currency','total','days'",
	"'object':{'const':'spend'},'month':{'type':'string','pattern':'^[0-9]{4}-[0-9]{2}$'},'user':{'type':['string','null'],'description':'null: the whole site'},"
	"'spend_caps':" SPEND_CAPS ",'currency':" TEXT ",'total':" SPENT("The whole month") ",'days':{'type':'array','maxItems':31,'items':"
	CLOSED("A day (UTC) on which something was spent", "'date','turns','input_tokens','output_tokens','cost'",
	       "'date':{'type':'string','format':'date'}," SPENT_MEMBERS) "}");

static const char preset_list[] = CLOSED("All presets", "'data'", "'data':{'type':'array','items':"
	CLOSED("A config to begin with", "'name','help','config'", "'name':" TEXT ",'help':" TEXT ",'config':{'type':'object'}") "}");

#define WORDS "{'type':'array','items':{'type':'string','minLength':1,'maxLength':64}}"
static const char template[] = CLOSED("What sessions of one kind begin with",
	"'name','title','preset','config','required_context','memory_categories','version','created_at','updated_at'",
	"'name':{'type':'string','pattern':'^[a-z0-9][a-z0-9-]*$','maxLength':64},'title':" TEXT ",'preset':" TEXT_OR_NULL ",'config':{'type':'object'},"
	"'required_context':" WORDS ",'memory_categories':" WORDS ",'version':{'type':'integer','minimum':1},'created_at':" TIME ",'updated_at':" TIME);
#define TEMPLATE_EXAMPLE                                                                                                       \
	"{'name':'support','title':'Support','preset':'customer_support','config':{'temperature':0.2},'required_context':['customer_id']," \
	"'memory_categories':['orders'],'version':1,'created_at':'2026-01-02T03:00:00.000Z','updated_at':'2026-01-02T03:00:00.000Z'}"

/* --- the rest --- */

static const char health[] = CLOSED("The worker lives", "'status'", "'status':{'const':'ok'}");
static const char readiness[] = CLOSED("Whether requests can be answered, and what is missing", "'status','database','cache'",
	"'status':{'enum':['ok','unavailable']},'database':{'enum':['ok','unavailable']},'cache':{'enum':['ok','unavailable','none']}");
static const char document[] = OPEN("An OpenAPI document", "'openapi','info','paths','components'",
	"'openapi':" TEXT ",'info':{'type':'object'},'paths':{'type':'object'},'components':{'type':'object'}");
static const char problem[] = CLOSED("A problem as RFC 9457 has it", "'type','title','status','detail','code','request_id'",
	"'type':{'type':'string','pattern':'^urn:parley:error:'},'title':" TEXT ",'status':{'type':'integer','minimum':400,'maximum':599},"
	"'detail':" TEXT ",'code':{'type':'string','description':'What a program tells problems apart by'},"
	"'request_id':{'type':'string','description':'Of the X-Request-Id header, to ask the operator about'},"
	"'errors':{'type':'array','minItems':1,'maxItems':20,'description':'One for each field that is wrong','items':"
	CLOSED("A field that is wrong", "'field','code','detail'", "'field':" TEXT ",'code':" TEXT ",'detail':" TEXT) "},"
	"'session_id':{'type':'string','description':'Of a turn that failed'},'turn_id':" IDENT("trn") "," TOKEN_MEMBERS);

static const char import[] = CLOSED("What an import stored, or would store",
	"'sessions','conversations','messages','agents_created','templates_created','skipped','dry_run'",
	"'sessions':" COUNT_OF ",'conversations':" COUNT_OF ",'messages':" COUNT_OF ",'agents_created':" COUNT_OF ",'templates_created':" COUNT_OF
	",'skipped':{'type':'integer','minimum':0,'description':'Sessions that were there already'},'dry_run':{'type':'boolean'}");

/* --- search --- */

static const char search_hit[] = CLOSED("A message that was found", "'session_id','conversation_id','message','score','snippet','highlights'",
	"'session_id':" TEXT ",'conversation_id':" IDENT("cnv") ",'message':" CLOSED("Which message it is", "'id','seq','role','created_at'",
	"'id':" IDENT("msg") ",'seq':{'type':'integer','minimum':1},'role':{'enum':['system','developer','user','assistant','tool','unknown']},"
	"'created_at':" TIME) ",'score':{'type':'number','minimum':0},"
	"'snippet':{'type':'string','description':'The part of the text around the best matches; an ellipsis where it was cut'},"
	"'highlights':{'type':'array','description':'Begin and length of each match in the snippet, in Unicode code points',"
	"'items':{'type':'array','minItems':2,'maxItems':2,'items':" COUNT_OF "}}");
static const char search_results[] = CLOSED("Messages found, best first", "'data','scanned','complete','next'",
	"'data':{'type':'array','items':" REF(SearchHit) "},'scanned':{'type':'integer','minimum':0,'description':'How many messages were read'},"
	"'complete':{'type':'boolean','description':'Whether these were all messages that were asked for'},"
	"'next':{'type':['string','null'],'description':'The cursor to search the older messages with, unless complete'}");

static const struct openapi_schema schemas[] = {
	{ "Agent", agent, AGENT_EXAMPLE },
	{ "AgentList", LIST_OF("A page of agents", Agent), LIST_EXAMPLE(AGENT_EXAMPLE) },
	{ "Answer", answer,
	  "{'session_id':'" SESSION_ID "','turn_id':'" TURN_ID "','result':'Every morning.','success':true,'finish':'stop','message':" ANSWER_MESSAGE
	  ",'user_message':" USER_MESSAGE ",'usage':" USAGE_EXAMPLE ",'steps':[]}" },
	{ "Compression", compression,
	  "{'conversation_id':'" CONVERSATION_ID "','summary':'user: Do you bake rye bread?','method':'extract','upto_seq':2,"
	  "'messages':2,'tokens_before':96,'tokens_after':16}" },
	{ "ContentPart", content_part, NULL },
	{ "Context", context,
	  "{'system':'Answer briefly.','summary':null,'summary_upto_seq':0,'messages':[" USER_MESSAGE "," ANSWER_MESSAGE "],'tokens':27,'first_seq':1,"
	  "'last_seq':2,'truncated':false}" },
	{ "ContextMessage", context_message, "{'role':'tool','content':'No result of this call was stored.','tool_call_id':'call_1','repaired':true}" },
	{ "Conversation", conversation, CONVERSATION_EXAMPLE },
	{ "ConversationList", LIST_OF("A page of conversations", Conversation), LIST_EXAMPLE(CONVERSATION_EXAMPLE) },
	{ "Health", health, "{'status':'ok'}" },
	{ "Import", import, "{'sessions':1,'conversations':1,'messages':2,'agents_created':1,'templates_created':0,'skipped':0,'dry_run':false}" },
	{ "Message", message, USER_MESSAGE },
	{ "MessageList", LIST_OF("A page of messages", Message), LIST_EXAMPLE(USER_MESSAGE "," ANSWER_MESSAGE) },
	{ "MessageListOrDocument", message_list_or_document, LIST_EXAMPLE(USER_MESSAGE "," ANSWER_MESSAGE) },
	{ "MessageOrList", message_or_list, USER_MESSAGE },
	{ "MessageVersions", message_versions, "{'data':[" USER_MESSAGE "]}" },
	{ "OpenApi", document, "{'openapi':'3.1.0','info':{'title':'parley','version':'1'},'paths':{},'components':{}}" },
	{ "PresetList", preset_list,
	  "{'data':[{'name':'educational','help':'Teaching that adapts','config':{'temperature':0.5,'memory_policy':'hybrid','adaptation':true}}]}" },
	{ "Problem", problem,
	  "{'type':'urn:parley:error:invalid_request','title':'The request is not valid','status':400,'detail':'is required','code':'invalid_request',"
	  "'request_id':'0193f2c4a1b27c3d','errors':[{'field':'agent','code':'required','detail':'is required'}]}" },
	{ "Readiness", readiness, "{'status':'ok','database':'ok','cache':'ok'}" },
	{ "SearchHit", search_hit, NULL },
	{ "SearchResults", search_results,
	  "{'data':[{'session_id':'" SESSION_ID "','conversation_id':'" CONVERSATION_ID "','message':{'id':'msg_01jcx3f2m8w5y8a1c4e7g0j3np','seq':1,"
	  "'role':'user','created_at':'2026-01-02T03:04:05.000Z'},'score':2.0794,'snippet':'Do you bake rye bread?','highlights':[[12,3]]}],"
	  "'scanned':240,'complete':true,'next':null}" },
	{ "Session", session, SESSION_EXAMPLE },
	{ "SessionFull", session_full,
	  "{'object':'session_full','session':" SESSION_EXAMPLE ",'stats':" SESSION_STATS_EXAMPLE ",'conversations':[" CONVERSATION_EXAMPLE "],"
	  "'messages':" LIST_EXAMPLE(USER_MESSAGE "," ANSWER_MESSAGE) "}" },
	{ "SessionInfo", session_info,
	  "{'object':'session_info','session':" SESSION_EXAMPLE ",'conversation_count':1,'conversations':[" CONVERSATION_EXAMPLE "]}" },
	{ "SessionList", LIST_OF("A page of sessions", Session), LIST_EXAMPLE(SESSION_EXAMPLE) },
	{ "SessionStats", session_stats, SESSION_STATS_EXAMPLE },
	{ "SessionWithMessages", session_with_messages, "{" SESSION_EXAMPLE_MEMBERS ",'messages':[" USER_MESSAGE "," ANSWER_MESSAGE "]}" },
	{ "SessionWithToken", session_with_token, "{" SESSION_EXAMPLE_MEMBERS "," TOKEN_EXAMPLE_MEMBERS "}" },
	{ "Site", site,
	  "{'id':'sit_01jcx3b7m4q1t4w7z0c3f6j9kp','name':'shop','title':'The shop','domains':['shop.example'],'origins':['https://shop.example'],"
	  "'is_paused':false,'ttl':{'session':86400,'memory':259200,'knowledge':604800,'history':2592000},"
	  "'spend_caps':" SPEND_CAPS_EXAMPLE ",'currency':'USD','created_at':'2026-01-02T03:00:00.000Z'}" },
	{ "Spend", spend,
	  "{'object':'spend','month':'2026-01','user':null,'spend_caps':" SPEND_CAPS_EXAMPLE ",'currency':'USD','total':" SPENT_EXAMPLE ","
	  "'days':[{'date':'2026-01-02','turns':1,'input_tokens':6,'output_tokens':3,'cost':0.000045}]}" },
	{ "Step", step, NULL },
	{ "Template", template, TEMPLATE_EXAMPLE },
	{ "TemplateList", LIST_OF("A page of templates", Template), LIST_EXAMPLE(TEMPLATE_EXAMPLE) },
	{ "Token", token, "{" TOKEN_EXAMPLE_MEMBERS "}" },
	{ "Tool", tool, TOOL_EXAMPLE },
	{ "ToolList", LIST_OF("A page of tools", Tool), LIST_EXAMPLE(TOOL_EXAMPLE) },
	{ "ToolWithSecret", tool_with_secret, "{" TOOL_EXAMPLE_MEMBERS ",'secret':'whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA='}" },
	{ "Turn", turn, TURN_EXAMPLE },
	{ "TurnList", LIST_OF("A page of turns", Turn), LIST_EXAMPLE(TURN_EXAMPLE) },
	{ "Usage", usage, NULL },
	{ .name = NULL },
};

const struct openapi_schema *openapi_schemas(void)
{
	return schemas;
}

void openapi_add_quoted(struct buf *b, const char *text)
{
	for (; *text; text++)
		buf_add_char(b, *text == '\'' ? '"' : *text);
}
